//! The tests in `../it`, as they are, once more through `AsyncRepo`: their `turnkeep_repo` is the
//! crate in `shim`, for their worker process too.

/// The worker has another name here, which the tests do not know.
macro_rules! env {
    ("CARGO_BIN_EXE_turnkeep-test-worker") => {
        std::env!("CARGO_BIN_EXE_turnkeep-test-worker-async")
    };
}

#[path = "../it/concurrency.rs"]
mod concurrency;
#[path = "../it/contents.rs"]
mod contents;
#[path = "../it/crash.rs"]
mod crash;
#[path = "../it/errors.rs"]
mod errors;
#[path = "../it/files.rs"]
mod files;
#[path = "../it/history.rs"]
mod history;
#[path = "../it/log.rs"]
mod log;
#[path = "../it/migrations.rs"]
mod migrations;
#[path = "../it/model.rs"]
mod model;
#[path = "../it/session.rs"]
mod session;
#[path = "../it/support.rs"]
mod support;
#[path = "../it/task.rs"]
mod task;

/// Not here: it looks at what `tracing` tells on the thread of the caller.
const BLOCKING_ONLY: &str = "mod observability;";

#[test]
fn no_test_file_is_forgotten() {
    let listed = include_str!("main.rs");
    let modules = include_str!("../it/main.rs")
        .lines()
        .filter(|line| line.starts_with("mod ") && *line != BLOCKING_ONLY);
    for module in modules {
        assert!(listed.contains(&format!("\n{module}\n")), "{module}");
    }
}

/// An explicit item of the shim hides the one it re-exports. Without it everything would compile
/// all the same, and test the blocking store twice.
#[test]
fn the_tests_go_through_the_shim() {
    for name in [
        std::any::type_name::<turnkeep_repo::Repo>(),
        std::any::type_name::<turnkeep_repo::RepoBuilder>(),
    ] {
        assert!(name.starts_with("turnkeep_repo_through_async::"), "{name}");
    }
}
