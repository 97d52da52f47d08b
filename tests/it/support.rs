//! Helpers of the tests of every engine.

use std::ffi::OsStr;
use std::process::Command;

pub use turnkeep_conformance::scene::{binding, contents, open_with_task, place, save_task};
pub use turnkeep_conformance::{Blocking, Harness, Options, Store, Worker};
use turnkeep_repo::{Repo, RepoBuilder, Result};

/// A handle that a host may have: `Repo`, or `AsyncRepo`.
pub trait Handle: Store {
    /// The name of the store for the worker.
    const NAME: &str;

    fn open_with(builder: RepoBuilder) -> Result<Self>;

    fn in_memory() -> Result<Self>;

    fn open_at(address: impl AsRef<std::path::Path>) -> Result<Self> {
        Self::open_with(Repo::builder(address))
    }

    /// Another process that works on the store at `address` through such a handle.
    fn worker(address: impl AsRef<OsStr>) -> Command {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_turnkeep-test-worker"));
        worker.arg(Self::NAME).arg(address);
        worker
    }
}

/// The worker, started by a shell that does something first.
pub fn in_shell(first: &str, worker: &Command) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{first}; exec \"$0\" \"$@\""));
    command.arg(worker.get_program()).args(worker.get_args());
    command
}

impl Handle for Repo {
    const NAME: &str = "blocking";

    fn open_with(builder: RepoBuilder) -> Result<Self> {
        builder.open()
    }

    fn in_memory() -> Result<Self> {
        Self::open_in_memory()
    }
}

impl Handle for Blocking {
    const NAME: &str = "async";

    fn open_with(builder: RepoBuilder) -> Result<Self> {
        Self::open(builder)
    }

    fn in_memory() -> Result<Self> {
        Self::open_in_memory()
    }
}
