use std::fmt;

/// The placeholder for a text in `Debug` output: `<12 bytes>`.
pub(crate) struct Redacted(usize);

impl Redacted {
    pub(crate) fn text(text: &str) -> Self {
        Self(text.len())
    }

    pub(crate) fn optional(text: Option<&str>) -> Option<Self> {
        text.map(Self::text)
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0)
    }
}
