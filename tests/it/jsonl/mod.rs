//! A store as text, and back. What holds for every engine runs from each one into each.

mod damaged;
mod exact;
mod generated;
mod stored;

use std::io::Cursor;

use turnkeep_repo::{JsonlProgress, Repo, Result};

fn export(repo: &Repo) -> Result<String> {
    let mut text = Vec::new();
    repo.export_jsonl(&mut text, |_| ())?;
    Ok(String::from_utf8(text).expect("UTF-8"))
}

fn import(repo: &Repo, text: impl AsRef<[u8]>) -> Result<JsonlProgress> {
    repo.import_jsonl(Cursor::new(text), |_| ())
}
