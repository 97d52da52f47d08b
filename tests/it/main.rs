//! Integration tests of the store, against temporary databases on disk.

mod concurrency;
mod contents;
mod crash;
mod errors;
mod files;
mod history;
mod log;
mod migrations;
mod model;
mod observability;
mod session;
mod support;
mod task;

/// A module that nobody lists is never compiled and its tests never run.
#[test]
fn no_test_file_is_forgotten() -> anyhow::Result<()> {
    let listed = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/it"))? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || listed.contains(&format!("mod {module};\n")),
            "{name} is not listed in main.rs"
        );
    }
    Ok(())
}
