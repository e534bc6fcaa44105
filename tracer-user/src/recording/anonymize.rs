//! Anonymizes headers.

use crate::{
    model::Names,
    model::provenance::{Header, joined},
};

impl Header {
    /// The header with the host names and the command lines anonymized.
    #[must_use]
    pub fn with_names(mut self, names: &Names) -> Self {
        self.host = names.host(&self.host);
        self.options = names.options(&self.options);
        for source in &mut self.sources {
            source.host = names.host(&source.host);
            source.options = names.options(&source.options);
        }
        // The host of a merged recording lists the hosts of its sources.
        if !self.sources.is_empty() {
            self.host = joined(self.sources.iter().map(|source| source.host.as_str()));
        }
        self
    }
}
