//! Imports the sample recordings beside this file into a new store, and prints each task with its turns and how its
//! session can be resumed. Run it with
//! `cargo run --example import_recordings`.

use std::path::Path;

use turnkeep_agents::{AgentHomes, ImportEvent, ImportOptions, Relocation, import, resume_plan};
use turnkeep_repo::Repo;

fn main() -> anyhow::Result<()> {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/recordings");
    let recordings = recordings.canonicalize()?;
    let path = tempfile::tempdir()?.keep().join("turnkeep.db");
    let repo = Repo::open(&path)?;

    // A program names the homes of its user: `~/.claude`, `~/.codex` and `~/.local/share/goose`.
    let home = |agent: &str| recordings.join(agent);
    let homes = AgentHomes::new(home("claude"), home("codex"), home("goose/data"));
    let found = turnkeep_recordings::find(&recordings, None)?;
    let options = ImportOptions::new("this machine", homes.clone());
    import(&repo, &found, &options, &mut |event| {
        if let ImportEvent::Failed(failure) = event {
            eprintln!("{failure}");
        }
    })?;

    for task in repo.get_tasks()? {
        println!("{}", task.id);
        for turn in repo.get_history(&task.id)? {
            println!("  {} {:<9} {}", turn.seq, turn.role, turn.content);
        }
        match resume_plan(&repo, &task.id, &homes, &Relocation::default())?.command() {
            Ok(command) => println!("  {}\n", command.shell_line()),
            Err(refusal) => println!("  can't be resumed: {refusal}\n"),
        }
    }
    println!("The store is in {}", path.display());
    Ok(())
}
