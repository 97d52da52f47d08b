//! What is measured, and the data it works on.

use anyhow::Result;
use turnkeep_repo::{BackendType, Durability, NewSession, SessionId, TaskId, WorkingDir};

use crate::store::Store;

/// One line of the table.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
    /// How many tasks there are. The operation goes through them in turn.
    pub(crate) tasks: usize,
    /// How many turns each of them has at the start.
    pub(crate) turns: usize,
    /// How often it is run before the other side has its turn.
    pub(crate) runs_per_block: usize,
    action: Action,
}

#[derive(Clone, Copy)]
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

/// What came of running an operation. Those of the two sides can be compared.
#[derive(Debug)]
pub(crate) enum Outcome<S, T> {
    Seq(i64),
    Session(S),
    History(Vec<T>),
}

impl<S1, T1, S2, T2> PartialEq<Outcome<S2, T2>> for Outcome<S1, T1>
where
    S1: PartialEq<S2>,
    T1: PartialEq<T2>,
{
    fn eq(&self, other: &Outcome<S2, T2>) -> bool {
        match (self, other) {
            (Self::Seq(one), Outcome::Seq(two)) => one == two,
            (Self::Session(one), Outcome::Session(two)) => one == two,
            (Self::History(one), Outcome::History(two)) => one == two,
            _ => false,
        }
    }
}

/// The values that operations read and write.
pub(crate) struct Data {
    pub(crate) tasks: Vec<TaskId>,
    /// The binding every task has at the start.
    pub(crate) first_binding: NewSession,
    bindings: [NewSession; 2],
    /// 1 KiB of ASCII.
    pub(crate) content: String,
}

impl Data {
    pub(crate) fn new(tasks: usize) -> Result<Self> {
        Ok(Self {
            tasks: (0..tasks)
                .map(|number| TaskId::new(format!("refactor-login-{number:05}")))
                .collect::<Result<_, _>>()?,
            first_binding: binding("6f1d2c3b-58aa-4e63-9c0f-2f1f6d1c7a00")?,
            bindings: [
                binding("0b9e7a52-7c1d-4b58-8f43-9f3b5c0d1e01")?,
                binding("d3a4c6e8-1f2b-4d9a-a7b6-0c8e4f5a6b02")?,
            ],
            content: "0123456789abcdef".repeat(64),
        })
    }
}

fn binding(session_id: &str) -> Result<NewSession> {
    let session_id = SessionId::new(session_id)?;
    Ok(NewSession::new(BackendType::Claude, session_id)
        .working_dir(WorkingDir::new("/srv/projects/app")?))
}
