//! A store in a schema where a stranger may create functions and operators: none of them is called.
//!
//! All tests of `postgres` and `postgres_async` run in such a database. Overloads are planted for the
//! operators that the statements use, and for each function of PostgreSQL whose name stands in their
//! sources, with one and two arguments of twenty types. Not planted are functions of three arguments
//! and other types.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::anyhow;
use turnkeep_admin::copy;
use turnkeep_repo::{BackendType, MessageKey, NewMessage, NewTask, Role};
use turnkeep_test_postgres::{Database, Server};

use super::TempDatabase;
use crate::sql::Sql;
use crate::support::*;

/// Makes a database with the overloads in its schema `public`.
pub fn database() -> anyhow::Result<Database> {
    static TEMPLATE: OnceLock<Result<Database, String>> = OnceLock::new();
    let server = Server::shared()?;
    let template = TEMPLATE.get_or_init(|| template(server).map_err(|error| format!("{error:#}")));
    let template = template.as_ref().map_err(|message| anyhow!("{message}"))?;
    server.copy(template)
}

fn template(server: &Server) -> anyhow::Result<Database> {
    let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut names = BTreeSet::new();
    for folder in [
        "migrations/postgres",
        "crates/repo/src/postgres",
        "crates/repo/src/ops",
    ] {
        find_calls(&sources.join(folder), &mut names)?;
    }
    assert!(
        names.contains("octet_length") && names.contains("unnest"),
        "{names:?}"
    );
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let names = format!("ARRAY[{}]", names.join(", "));
    let database = server.database()?;
    database.psql(&include_str!("overloads.sql").replace(":names", &names))?;
    let planted = "SELECT count(*) > 3000 FROM pg_operator \
                   WHERE oprnamespace = 'public'::regnamespace::oid";
    assert_eq!(database.psql(planted)?, "t");
    Ok(database)
}

/// Adds every name that a `(` follows.
fn find_calls(path: &Path, names: &mut BTreeSet<String>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            find_calls(&entry?.path(), names)?;
        }
        return Ok(());
    }
    let text = fs::read_to_string(path)?;
    let is_in_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    for (at, _) in text.match_indices('(') {
        let before = &text[..at];
        let name = &before[before.trim_end_matches(is_in_name).len()..];
        names.insert(name.to_owned());
    }
    Ok(())
}

/// The overloads would be noticed.
#[test]
fn a_planted_overload_is_called_by_a_statement_that_converts() -> anyhow::Result<()> {
    let database = TempDatabase::new()?;
    for statement in [
        "SELECT octet_length(current_schema())",
        "SELECT 1.5::numeric * 2",
        "SELECT ARRAY['a'] = ARRAY['b']",
        "SELECT cardinality(ARRAY['a'])",
    ] {
        let error = database.execute(statement).unwrap_err();
        assert!(
            error.to_string().contains("planted"),
            "{statement}: {error}"
        );
    }
    Ok(())
}

/// Operations that no rule of a store runs.
#[test]
fn copies_exports_and_checks_call_no_planted_overload() -> anyhow::Result<()> {
    let (hostile, other) = (TempDatabase::new()?, TempDatabase::new()?);
    let (repo, task) = open_with_task(&hostile, "t")?;
    repo.save_session(&task, &binding(BackendType::Codex, "s", Some("/dir"))?)?;
    let key = MessageKey::new("k")?;
    repo.save_messages(&task, &[NewMessage::new(Role::User, "x").key(key)])?;
    let mut next = NewTask::new("next".parse()?, "Next");
    next.depends_on = vec![task.clone()];
    repo.save_task(&next)?;

    let to = other.open_with(Options::new())?;
    copy(&repo, &to, |_| ())?;
    repo.save_message(&task, Role::User, "y")?;
    repo.retire_session(&task, &"s".parse()?, "over")?;
    copy(&repo, &to, |_| ())?;
    let mut lines = Vec::new();
    turnkeep_admin::export_jsonl(&repo, &mut lines, |_| ())?;
    turnkeep_admin::import_jsonl(&to, std::io::Cursor::new(&lines), |_| ())?;
    for store in [&repo, &to] {
        assert_eq!(contents(store, &task)?, ["x", "y"]);
        let report = turnkeep_admin::check(store)?;
        assert!(report.is_ok(), "{report:?}");
        assert_eq!(turnkeep_admin::usage(store)?.largest.len(), 2);
    }
    Ok(())
}
