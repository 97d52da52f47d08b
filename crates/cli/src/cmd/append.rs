use std::io::{self, ErrorKind, Read};

use anyhow::{anyhow, bail};
use serde_json::json;
use turnkeep_repo::{MAX_TEXT_BYTES, NewMessage};

use crate::args::AppendArgs;
use crate::output::Output;
use crate::store::Store;

pub(crate) fn run(args: AppendArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.open()?;
    let content = match args.text {
        Some(text) if text != "-" => text,
        _ => read_stdin()?,
    };
    let mut message = NewMessage::new(args.role, content);
    message.key = args.key;
    message.metadata = args.metadata;
    for seq in repo.save_messages(&args.task.id, &[message])? {
        if out.is_json() {
            out.json(&json!({ "task_id": args.task.id.as_str(), "seq": seq.get() }))?;
        } else {
            out.line(&seq.to_string())?;
        }
    }
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
