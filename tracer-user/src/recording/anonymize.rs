//! Headers without names.

use crate::{
    model::Names,
    model::provenance::{Header, joined},
};

impl Header {
    /// The header with the names in it replaced: the host, and what was typed.
    #[must_use]
    pub fn with_names(mut self, names: &Names) -> Self {
        self.host = names.host(&self.host);
        self.options = names.options(&self.options);
        for source in &mut self.sources {
            source.host = names.host(&source.host);
            source.options = names.options(&source.options);
        }
        // Of a merged dump the host is the list of its sources'.
        if !self.sources.is_empty() {
            self.host = joined(self.sources.iter().map(|source| source.host.as_str()));
        }
        self
    }
}
