use serde::Serialize;

use crate::args::BackupArgs;
use crate::output::Output;
use crate::store::Store;

#[derive(Serialize)]
struct BackupRecord {
    path: String,
    bytes: u64,
    tasks: u64,
    turns: u64,
}

pub(crate) fn run(args: &BackupArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let backup = store.open_patiently()?.backup(&args.file)?;
    let path = backup.path.to_string_lossy().into_owned();
    if out.is_json() {
        return Ok(out.json(&BackupRecord {
            path,
            bytes: backup.bytes,
            tasks: backup.tasks,
            turns: backup.turns,
        })?);
    }
    Ok(out.line(&format!(
        "{path} (tasks: {}, turns: {}, bytes: {})",
        backup.tasks, backup.turns, backup.bytes
    ))?)
}
