use crate::base::metadata_filter::MetadataFilter;

/// Which tasks a worker takes: a task must meet every given condition. Without any it takes all.
///
/// ```
/// use turnkeep_repo::ClaimFilter;
///
/// let filter = ClaimFilter::new().agent_role("coder").metadata("pool", "gpu");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimFilter {
    pub(crate) agent_role: Option<String>,
    pub(crate) metadata: MetadataFilter,
}

impl ClaimFilter {
    /// Makes a filter that selects all tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects only tasks with this agent role, compared byte for byte.
    #[must_use]
    pub fn agent_role(mut self, agent_role: impl Into<String>) -> Self {
        self.agent_role = Some(agent_role.into());
        self
    }

    /// Selects only tasks whose metadata have this text, byte for byte, at this key. May be called for several
    /// keys, and a task must meet all. Only keys at the top of the object and JSON strings count: `"2"` is met
    /// by the string, not by the number.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.require(key.into(), value.into());
        self
    }
}
