//! A store as text, and back. The rules of every engine run for each pair of engines.

mod damaged;
mod exact;
mod generated;
mod stored;

use std::io::Cursor;

use turnkeep_admin::{JsonlProgress, Result};
use turnkeep_repo::Repo;

fn export(repo: &Repo) -> Result<String> {
    let mut text = Vec::new();
    turnkeep_admin::export_jsonl(repo, &mut text, |_| ())?;
    Ok(String::from_utf8(text).expect("UTF-8"))
}

fn import(repo: &Repo, text: impl AsRef<[u8]>) -> Result<JsonlProgress> {
    turnkeep_admin::import_jsonl(repo, Cursor::new(text), |_| ())
}
