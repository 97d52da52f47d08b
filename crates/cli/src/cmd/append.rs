use std::io::{self, ErrorKind, Read};

use anyhow::{anyhow, bail};
use serde::Serialize;
use turnkeep_repo::{MAX_TEXT_BYTES, NewMessage};

use crate::args::AppendArgs;
use crate::output::Output;
use crate::store::Store;

#[derive(Serialize)]
struct AppendRecord<'a> {
    task_id: &'a str,
    seq: i64,
}

pub(crate) fn run(args: AppendArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.open()?;
    let content = match args.text {
        Some(text) if text != "-" => text,
        _ => read_stdin()?,
    };
    let mut message = NewMessage::new(args.role, content);
    message.key = args.key;
    for seq in repo.save_messages(&args.task.id, &[message])? {
        if out.is_json() {
            let task_id = args.task.id.as_str();
            out.json(&AppendRecord { task_id, seq })?;
        } else {
            out.line(&seq.to_string())?;
        }
    }
    Ok(())
}

/// Reads all of it, and no more than a byte over what a store takes: it may be endless.
fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin()
        .take(MAX_TEXT_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidData => {
                anyhow!("standard input is no UTF-8 text, which a message has to be")
            }
            _ => anyhow!("cannot read standard input: {error}"),
        })?;
    if text.len() > MAX_TEXT_BYTES {
        bail!("standard input is longer than {MAX_TEXT_BYTES} bytes, the most a message may have");
    }
    Ok(text)
}
