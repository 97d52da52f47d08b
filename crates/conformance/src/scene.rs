//! Helpers that rules share with the tests of one engine.

use anyhow::ensure;
use turnkeep_repo::{BackendType, NewSession, NewTask, Seq, SessionId, TaskId, WorkingDir};

use crate::{Harness, Store};

/// Opens the store and saves a task.
///
/// # Errors
/// Errors of the store.
pub fn open_with_task<H: Harness>(store: &H, id: &str) -> anyhow::Result<(H::Store, TaskId)> {
    let repo = store.open()?;
    let task = save_task(&repo, id)?;
    Ok((repo, task))
}

/// Saves a task and returns its id.
///
/// # Errors
/// Errors of the store, and an invalid `id`.
pub fn save_task(repo: &impl Store, id: &str) -> anyhow::Result<TaskId> {
    let id = TaskId::new(id)?;
    repo.save_task(&NewTask::new(id.clone(), "A task"))?;
    Ok(id)
}

/// Returns a binding to the session `id`.
///
/// # Errors
/// An invalid `id` or `dir`.
pub fn binding(backend: BackendType, id: &str, dir: Option<&str>) -> anyhow::Result<NewSession> {
    let mut binding = NewSession::new(backend, SessionId::new(id)?);
    binding.working_dir = dir.map(WorkingDir::new).transpose()?;
    Ok(binding)
}

/// Returns the place after turn number `seq`, and for 0 the beginning.
pub fn place(seq: i64) -> Option<Seq> {
    Seq::new(seq).ok()
}

/// Returns the texts of a history in order and checks that its seqs are 1, 2, 3, …
///
/// # Errors
/// Errors of the store, and a gap in the seqs.
pub fn contents(repo: &impl Store, task: &TaskId) -> anyhow::Result<Vec<String>> {
    let history = repo.get_history(task)?;
    let seqs: Vec<i64> = history.iter().map(|turn| turn.seq.get()).collect();
    ensure!(
        seqs.iter().copied().eq((1..).take(seqs.len())),
        "the seqs of task `{task}` have gaps: {seqs:?}"
    );
    Ok(history.into_iter().map(|turn| turn.content).collect())
}
