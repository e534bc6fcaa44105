//! Headers without names.

use crate::{model::Names, recording::lines::Header};

impl Header {
    /// The header with the names in it replaced: the host, and what was typed.
    #[must_use]
    pub fn with_names(mut self, names: &Names) -> Self {
        self.host = names.host(&self.host);
        self.options = names.options(&self.options);
        self
    }
}
