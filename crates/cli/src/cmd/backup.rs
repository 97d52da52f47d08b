use std::path::Path;

use anyhow::Context;
use serde_json::json;

use crate::args::{BackupArgs, BackupCommand};
use crate::output::Output;
use crate::store::Store;

pub(crate) fn run(args: &BackupArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    match &args.command {
        Some(BackupCommand::Restore { file }) => restore(file, store, out),
        None => backup(
            args.file.as_deref().context("a file is needed")?,
            store,
            out,
        ),
    }
}

fn backup(file: &Path, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let backup = store.open_patiently()?.backup(file)?;
    let path = backup.path.to_string_lossy();
    if out.is_json() {
        return Ok(out.json(&json!({
            "path": path,
            "bytes": backup.bytes,
            "tasks": backup.tasks,
            "turns": backup.turns,
        }))?);
    }
    Ok(out.line(&format!(
        "{path} (tasks: {}, turns: {}, bytes: {})",
        backup.tasks, backup.turns, backup.bytes
    ))?)
}

fn restore(file: &Path, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let restored = store.builder()?.restore(file)?;
    let path = restored.path.to_string_lossy();
    let kept = restored
        .kept
        .map(|kept| kept.to_string_lossy().into_owned());
    if out.is_json() {
        return Ok(out.json(&json!({
            "path": path,
            "kept": kept,
            "bytes": restored.bytes,
            "tasks": restored.tasks,
            "turns": restored.turns,
        }))?);
    }
    let kept = kept.map_or_else(|| "there was none".into(), |kept| format!("kept as {kept}"));
    Ok(out.line(&format!(
        "{path} (tasks: {}, turns: {}, bytes: {}); the old store: {kept}",
        restored.tasks, restored.turns, restored.bytes
    ))?)
}
