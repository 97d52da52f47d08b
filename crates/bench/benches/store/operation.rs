//! What one caller by itself is measured with.

use anyhow::{Context as _, Result};
use turnkeep_repo::Durability;

use crate::data::Data;
use crate::plain::{PlainSession, PlainTurn};
use crate::side::Side;
use crate::store::Store;

/// One line of the table.
pub(crate) struct Operation {
    /// What the line is called.
    pub(crate) name: &'static str,
    /// Whether a write waits for the disk.
    pub(crate) durability: Durability,
    /// How many tasks there are. The operation goes through them in turn.
    pub(crate) tasks: usize,
    /// How many turns each of them has at the start.
    pub(crate) turns: usize,
    /// How often it is run before the other side has its turn.
    pub(crate) runs_per_block: usize,
    action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    SaveMessage,
    SaveSession,
    GetSession,
    GetHistory,
}

/// All that is measured, in the order of the table.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "save_message, FULL",
        durability: Durability::Full,
        tasks: 16,
        turns: 100,
        runs_per_block: 20,
        action: Action::SaveMessage,
    },
    Operation {
        name: "save_message, NORMAL",
        durability: Durability::Normal,
        tasks: 16,
        turns: 100,
        runs_per_block: 200,
        action: Action::SaveMessage,
    },
    Operation {
        name: "save_session, FULL",
        durability: Durability::Full,
        tasks: 256,
        turns: 1,
        runs_per_block: 20,
        action: Action::SaveSession,
    },
    // So many tasks because a save looks at all revisions of its task, and few are usual.
    Operation {
        name: "save_session, NORMAL",
        durability: Durability::Normal,
        tasks: 1024,
        turns: 1,
        runs_per_block: 100,
        action: Action::SaveSession,
    },
    Operation {
        name: "get_session",
        durability: Durability::Normal,
        tasks: 256,
        turns: 1,
        runs_per_block: 1000,
        action: Action::GetSession,
    },
    Operation {
        name: "get_history, 100 turns",
        durability: Durability::Normal,
        tasks: 16,
        turns: 100,
        runs_per_block: 50,
        action: Action::GetHistory,
    },
    Operation {
        name: "get_history, 1,000 turns",
        durability: Durability::Normal,
        tasks: 8,
        turns: 1_000,
        runs_per_block: 8,
        action: Action::GetHistory,
    },
    Operation {
        name: "get_history, 10,000 turns",
        durability: Durability::Normal,
        tasks: 3,
        turns: 10_000,
        runs_per_block: 3,
        action: Action::GetHistory,
    },
];

impl Operation {
    /// Returns the operation of this name.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        OPERATIONS
            .iter()
            .find(|operation| operation.name == name)
            .with_context(|| format!("there is no operation {name}"))
    }

    /// Returns who can do it. Lines in a file that are not synced are another thing than a
    /// transaction that is not, so they are there for durable appends only.
    pub(crate) fn sides(&self) -> &'static [Side] {
        let is_durable = matches!(self.durability, Durability::Full);
        if self.action == Action::SaveMessage && is_durable {
            &Side::ALL
        } else {
            &Side::TABLES
        }
    }

    /// Runs the operation for the `index`th time.
    pub(crate) fn run<S: Store>(
        &self,
        store: &mut S,
        data: &Data,
        index: usize,
    ) -> Result<Outcome<S::Session, S::Turn>> {
        let task = &data.tasks[index % data.tasks.len()];
        Ok(match self.action {
            Action::SaveMessage => Outcome::Seq(store.save_message(task, &data.content)?),
            Action::SaveSession => {
                // When a task comes round again, it gets the other binding.
                let round = index / data.tasks.len();
                let binding = &data.bindings[round % data.bindings.len()];
                Outcome::Session(store.save_session(task, binding)?)
            }
            Action::GetSession => Outcome::Session(store.get_session(task)?),
            Action::GetHistory => Outcome::History(store.get_history(task)?),
        })
    }
}

/// What came of running an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome<S, T> {
    /// The number of the turn appended.
    Seq(i64),
    /// A binding, written or read.
    Session(S),
    /// All turns of a task.
    History(Vec<T>),
}

/// An outcome that can be compared with that of another side.
pub(crate) type PlainOutcome = Outcome<PlainSession, PlainTurn>;

impl<S: Into<PlainSession>, T: Into<PlainTurn>> Outcome<S, T> {
    /// Makes it comparable.
    pub(crate) fn plain(self) -> PlainOutcome {
        match self {
            Self::Seq(seq) => Outcome::Seq(seq),
            Self::Session(session) => Outcome::Session(session.into()),
            Self::History(turns) => Outcome::History(turns.into_iter().map(Into::into).collect()),
        }
    }
}
