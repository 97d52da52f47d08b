//! `turnkeep_repo` as blocking code knows it, with everything done by its `AsyncRepo`.

mod builder;
mod repo;

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

// Before the re-exported ones of the same names.
pub use builder::RepoBuilder;
pub use repo::Repo;
pub use turnkeep_repo::*;

/// The one runtime of the process, as a host has it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(2).enable_time();
    builder.build().expect("a runtime")
});

/// Drives a future of the store to its end, on the caller's thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}
