//! The operations that one caller is measured with.

use anyhow::{Context as _, Result};
use turnkeep_repo::Durability;

use crate::data::Data;
use crate::plain::{PlainSession, PlainTurn};
use crate::side::Side;
use crate::store::Store;

/// A row of the table.
pub(crate) struct Operation {
    /// The name of the row.
    pub(crate) name: &'static str,
    /// Whether a write waits for the disk.
    pub(crate) durability: Durability,
    /// The number of tasks, which the operation goes through in turn.
    pub(crate) tasks: usize,
    /// The initial number of turns per task.
    pub(crate) turns: usize,
    /// Runs per block.
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

/// All operations, in the order of the table.
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
    // Many tasks, because a save reads all revisions of its task and few are typical.
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
    /// Returns the operation with this name.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        OPERATIONS
            .iter()
            .find(|operation| operation.name == name)
            .with_context(|| format!("there is no operation {name}"))
    }

    /// Returns the sides that support the operation. Unsynced lines in a file do not compare to an
    /// unsynced transaction, so `Jsonl` is only compared in durable appends. Other schemas than the store's
    /// keep no bindings.
    pub(crate) fn sides(&self) -> &'static [Side] {
        match (self.action, self.durability) {
            (Action::SaveMessage, Durability::Full) => &Side::ALL,
            (Action::SaveMessage, _) => &Side::APPENDS,
            _ => &Side::TABLES,
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
                // Alternate the binding each time a task comes round.
                let round = index / data.tasks.len();
                let binding = &data.bindings[round % data.bindings.len()];
                Outcome::Session(store.save_session(task, binding)?)
            }
            Action::GetSession => Outcome::Session(store.get_session(task)?),
            Action::GetHistory => Outcome::History(store.get_history(task)?),
        })
    }
}

/// The outcome of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome<S, T> {
    /// The seq of the appended turn.
    Seq(i64),
    /// A written or read binding.
    Session(S),
    /// All turns of a task.
    History(Vec<T>),
}

/// An outcome that can be compared between sides.
pub(crate) type PlainOutcome = Outcome<PlainSession, PlainTurn>;

impl<S: Into<PlainSession>, T: Into<PlainTurn>> Outcome<S, T> {
    /// Converts to the comparable form.
    pub(crate) fn plain(self) -> PlainOutcome {
        match self {
            Self::Seq(seq) => Outcome::Seq(seq),
            Self::Session(session) => Outcome::Session(session.into()),
            Self::History(turns) => Outcome::History(turns.into_iter().map(Into::into).collect()),
        }
    }
}
