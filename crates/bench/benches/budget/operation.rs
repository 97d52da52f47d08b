//! The frequent calls of an orchestrator.

use std::hint::black_box;

use anyhow::{Context as _, Result, bail};
use turnkeep_repo::{HistoryPage, MessageKey, NewMessage, Repo, Role, Seq};

use crate::fixture::Data;

/// A call on a store with histories and sessions.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Operation {
    SaveMessage,
    SaveMessageWithKey,
    SaveSession,
    GetSession,
    GetHistory,
    GetHistoryLast,
    GetHistoryPage,
    CountHistory,
    /// A transaction of an INSERT for each of 32 tasks, whose next seqs are known. It shows the cost of
    /// the schema, so only the C API runs it.
    AppendBatch,
}

/// All operations of the store.
pub(crate) const OPERATIONS: [Operation; 8] = [
    Operation::SaveMessage,
    Operation::SaveMessageWithKey,
    Operation::SaveSession,
    Operation::GetSession,
    Operation::GetHistory,
    Operation::GetHistoryLast,
    Operation::GetHistoryPage,
    Operation::CountHistory,
];

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SaveMessage => "save_message",
            Self::SaveMessageWithKey => "save_messages of 1 with a key",
            Self::SaveSession => "save_session",
            Self::GetSession => "get_session",
            Self::GetHistory => "get_history of 100",
            Self::GetHistoryLast => "get_history_last(10)",
            Self::GetHistoryPage => "get_history_page of 10",
            Self::CountHistory => "count_history",
            Self::AppendBatch => "turn in a batch of 32",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        let mut all = OPERATIONS.into_iter().chain([Self::AppendBatch]);
        all.find(|operation| operation.name() == name)
            .with_context(|| format!("there is no operation {name}"))
    }

    /// Runs the operation for the `index`th time, each time on another task.
    pub(crate) fn run(self, repo: &Repo, data: &Data, index: usize) -> Result<()> {
        let task = data.speaking_task(index);
        match self {
            Self::SaveMessage => {
                black_box(repo.save_message(task, Role::Assistant, &data.content)?);
            }
            Self::SaveMessageWithKey => {
                let key = MessageKey::new(format!("message-{index:08}"))?;
                let message = NewMessage::new(Role::Assistant, data.content.as_str()).key(key);
                black_box(repo.save_messages(task, &[message])?);
            }
            Self::SaveSession => {
                black_box(repo.save_session(data.task(index), data.binding(index))?);
            }
            Self::GetSession => {
                black_box(repo.get_session(data.task(index))?);
            }
            Self::GetHistory => {
                black_box(repo.get_history(task)?);
            }
            Self::GetHistoryLast => {
                black_box(repo.get_history_last(task, 10)?);
            }
            Self::GetHistoryPage => {
                let after = Seq::new(i64::try_from(index % 90)?).ok();
                black_box(repo.get_history_page(task, HistoryPage::new(10).after(after))?);
            }
            Self::CountHistory => {
                black_box(repo.count_history(task)?);
            }
            Self::AppendBatch => bail!("only the C API appends a batch"),
        }
        Ok(())
    }
}
