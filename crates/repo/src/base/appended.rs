use turnkeep_model::Seq;

/// The turn of a message that was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedMessage {
    /// The turn.
    pub seq: Seq,
    /// Whether the call stored the turn. False if it was stored before; it may then say something else than
    /// the message.
    pub is_new: bool,
}

/// The turns of an append.
pub(crate) struct Appended {
    /// The last seq before the append.
    pub(crate) after: Option<Seq>,
    /// The seq of each message.
    pub(crate) seqs: Vec<Seq>,
}

impl Appended {
    pub(crate) fn seqs(self) -> Vec<Seq> {
        self.seqs
    }

    /// Returns the seq of the only message.
    pub(crate) fn seq(self) -> Seq {
        self.seqs[0]
    }

    pub(crate) fn messages(self) -> Vec<SavedMessage> {
        let is_new = |seq| Some(seq) > self.after;
        self.seqs
            .into_iter()
            .map(|seq| SavedMessage {
                seq,
                is_new: is_new(seq),
            })
            .collect()
    }
}
