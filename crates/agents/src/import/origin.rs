use serde::{Deserialize, Serialize};
use turnkeep_repo::Metadata;

/// Where a binding that an import has made comes from: the binding's metadata. A binding with other metadata is
/// somebody's own, and an import does not change it.
///
/// ```
/// use turnkeep_agents::Origin;
/// use turnkeep_repo::Metadata;
///
/// let metadata = Metadata::new(r#"{"imported_from":"/home/dev/x.jsonl","host":"host-1"}"#)?;
/// let origin = Origin::of(Some(&metadata)).unwrap();
/// assert_eq!(origin.host, "host-1");
/// # Ok::<(), turnkeep_repo::InvalidValue>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origin {
    /// The real path of the recording. Bytes that are not UTF-8 are replaced.
    pub imported_from: String,
    /// The machine.
    pub host: String,
    /// The reason to believe that the recording is of the session.
    #[serde(default, skip_serializing_if = "is_place")]
    pub evidence: Evidence,
}

/// The reason to believe that a recording is of its session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Evidence {
    /// The place and the name of the file, or the user who named it.
    #[default]
    Place,
    /// Only its content.
    Claim,
    /// It has only prompts, in the history of Claude Code.
    Prompts,
}

impl Origin {
    /// Reads the metadata of a binding. `None` if no import has made it.
    #[must_use]
    pub fn of(metadata: Option<&Metadata>) -> Option<Self> {
        metadata?.deserialize().ok()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_place(evidence: &Evidence) -> bool {
    *evidence == Evidence::Place
}
