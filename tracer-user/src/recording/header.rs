//! The first line of a recording, of any schema.

use std::io;

use serde::Serialize;

use crate::model::provenance::Header;

/// The line of a header, with its line feed.
pub(super) fn line(header: &Header) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Line<'a> {
        Header(&'a Header),
    }
    let mut line = serde_json::to_vec(&Line::Header(header))?;
    line.push(b'\n');
    Ok(line)
}
