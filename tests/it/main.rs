//! Integration tests of the store, on each engine and through each of its handles.
//!
//! The rules that hold for all of them are in `crates/conformance`; here are the places that they
//! are held in, and what is one engine's own. The name of a test begins with the engine.

#![expect(
    clippy::duplicate_mod,
    reason = "what is SQLite's own is tested through each handle, from one file"
)]

use std::fs;
use std::path::Path;

mod callers;
mod copy;
mod errors;
mod jsonl;
mod orchestrator;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_async;
#[cfg(feature = "postgres")]
mod server;
mod sql;
mod sqlite;
mod sqlite_async;
mod support;

/// A module that nobody lists is never compiled and its tests never run.
#[test]
fn no_test_file_is_forgotten() -> anyhow::Result<()> {
    let (sqlite, sqlite_async) = (
        include_str!("sqlite/mod.rs"),
        include_str!("sqlite_async.rs"),
    );
    let (postgres, postgres_async) = (
        include_str!("postgres/mod.rs"),
        include_str!("postgres_async.rs"),
    );
    for (folder, own, listed) in [
        (".", &["main"][..], include_str!("main.rs")),
        ("postgres", &["mod"], postgres),
        (
            "postgres",
            &[
                "mod",
                "check",
                "hostile",
                "orchestrator",
                "overloads",
                "temp_database",
                "vacuum",
            ],
            postgres_async,
        ),
        ("callers", &["mod"], include_str!("callers/mod.rs")),
        ("copy", &["mod"], include_str!("copy/mod.rs")),
        ("jsonl", &["mod"], include_str!("jsonl/mod.rs")),
        ("server", &["mod"], include_str!("server/mod.rs")),
        ("sqlite", &["mod"], sqlite),
        (
            "sqlite",
            &[
                "mod",
                "backup",
                "check",
                "hostile",
                "observability",
                "orchestrator",
                "restore",
                "side_files",
                "temp_store",
                "vacuum",
                "viewer",
            ],
            sqlite_async,
        ),
    ] {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/it")).join(folder);
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sql") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            assert!(
                path.is_dir()
                    || own.contains(&&*name)
                    || listed.contains(&format!("mod {name};\n")),
                "{} is not listed",
                path.display()
            );
        }
    }
    Ok(())
}
