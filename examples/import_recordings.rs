//! Imports the sample recordings beside this file into a new store, and prints each task with
//! its turns and its session. Run it with
//! `cargo run --example import_recordings`.

use std::path::Path;

use turnkeep_repo::{HistoryPage, NewSession, NewTask, Repo, TaskStatus};

fn main() -> anyhow::Result<()> {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/recordings");
    let path = tempfile::tempdir()?.keep().join("turnkeep.db");
    let repo = Repo::open(&path)?;

    for source in turnkeep_recordings::find(&recordings, None)?.sources {
        for recording in source.sessions()? {
            import(&repo, &recording?)?;
        }
    }
    for task in repo.get_tasks()? {
        let session = repo.get_session(&task.id)?;
        println!("{}", task.id);
        for turn in repo.get_history(&task.id)? {
            println!("  {} {:<9} {}", turn.seq, turn.role, turn.content);
        }
        println!(
            "  session {} of {}\n",
            session.session_id, session.backend_type
        );
    }
    println!("The store is in {}", path.display());
    Ok(())
}

/// One recorded session becomes one task with its binding and its turns.
fn import(repo: &Repo, recording: &turnkeep_recordings::Recording) -> anyhow::Result<()> {
    let id = recording.task_id()?;
    let mut task = NewTask::new(id.clone(), recording.name());
    task.recorded = recording.first_timestamp().zip(recording.last_timestamp());
    repo.save_task(&task.status(TaskStatus::Completed))?;

    let mut session = NewSession::new(recording.backend_type.clone(), recording.session_id.clone());
    session.working_dir = recording.working_dir.clone();
    repo.save_session(&id, &session)?;

    let whole = HistoryPage::new(u32::MAX).with_hidden();
    let stored = repo.get_history_page(&id, whole)?;
    repo.save_messages(&id, &recording.new_messages(&stored))?;
    Ok(())
}
