use std::fmt;

/// Keys at the top of a metadata object, each with the text that is to be there. Empty, it selects everything.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct MetadataFilter(pub(crate) Vec<(String, String)>);

impl MetadataFilter {
    pub(crate) fn require(&mut self, key: String, value: String) {
        self.0.push((key, value));
    }
}

impl fmt::Debug for MetadataFilter {
    /// Metadata are as secret as contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} texts>", self.0.len())
    }
}
