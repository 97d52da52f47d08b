use std::io::{self, ErrorKind, Read};
use std::slice;

use anyhow::{anyhow, bail};
use serde_json::json;
use turnkeep_repo::ErrorKind::TaskNotFound;
use turnkeep_repo::{MAX_TEXT_BYTES, NewMessage};

use crate::args::AppendArgs;
use crate::output::Output;
use crate::short_id::find_to_change;
use crate::store::Store;

pub(crate) fn run(args: AppendArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.clone().open()?;
    let content = match args.text {
        Some(text) if text != "-" => text,
        _ => read_stdin()?,
    };
    let mut message = NewMessage::new(args.role, content);
    message.key = args.key;
    message.metadata = args.metadata;
    let mut task = args.task.id;
    let mut saved = repo.save_messages(&task, slice::from_ref(&message));
    if let Err(error) = &saved
        && *error.kind() == TaskNotFound
    {
        // Looked up only then: an append with a whole id is one write.
        task = find_to_change(&repo, &task, out)?;
        saved = repo.save_messages(&task, &[message]);
    }
    for seq in saved? {
        if out.is_json() {
            out.json(&json!({ "task_id": task.as_str(), "seq": seq.get() }))?;
        } else {
            out.line(&seq.to_string())?;
        }
    }
    store.leave(repo);
    Ok(())
}

/// Reads standard input, which may be endless, up to one byte above the limit of a message.
fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin()
        .take(MAX_TEXT_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidData => {
                anyhow!("standard input is not UTF-8 text")
            }
            _ => anyhow!("cannot read standard input: {error}"),
        })?;
    if text.len() > MAX_TEXT_BYTES {
        bail!("standard input is longer than {MAX_TEXT_BYTES} bytes, the limit of a message");
    }
    Ok(text)
}
