use turnkeep_model::{ConversationTurn, Seq, SessionRevision};

/// The turns of a task and the sessions that said them, as of one moment. Returned by
/// [`Repo::get_conversation`](crate::Repo::get_conversation).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Conversation {
    /// The visible turns, by ascending seq.
    pub turns: Vec<ConversationTurn>,
    /// All bindings that the task ever had, by ascending revision.
    pub revisions: Vec<SessionRevision>,
}

impl Conversation {
    /// Returns the binding that a turn was stored under: the last one that was saved before it, or `None` if
    /// none was. A turn after the end of a binding, before the next one, has the ended one.
    #[must_use]
    pub fn revision_of(&self, seq: Seq) -> Option<&SessionRevision> {
        let later = self.revisions.partition_point(|it| it.first_seq <= seq);
        self.revisions[..later].last()
    }
}
