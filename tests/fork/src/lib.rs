//! Forks a process, for tests. Contains `unsafe` code.

#![cfg(unix)]

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, bail, ensure};

/// Runs `work` in a forked process and returns its result.
///
/// The child has only the calling thread and runs no exit handlers.
///
/// # Errors
/// The error or panic of `work` as a text, or a failed fork.
pub fn in_child(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (mut told, mut tell) = io::pipe()?;
    // SAFETY: the child allocates, which glibc and macOS allow there, and takes no lock that another
    // thread of these tests may hold.
    let child = unsafe { libc::fork() };
    ensure!(child >= 0, io::Error::last_os_error());
    if child == 0 {
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let words = match outcome {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "panicked".to_owned(),
        };
        let is_told = tell.write_all(words.as_bytes()).is_ok();
        // SAFETY: ends the process, and with it nothing that the parent has.
        unsafe { libc::_exit(i32::from(!words.is_empty() || !is_told)) }
    }
    drop(tell);
    let mut words = String::new();
    told.read_to_string(&mut words)?;
    let mut status = 0;
    // SAFETY: writes the status into a variable of that type.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    ensure!(waited == child, io::Error::last_os_error());
    match status {
        0 => Ok(()),
        _ if words.is_empty() => bail!("the child ended with status {status}"),
        _ => Err(anyhow::Error::msg(words)).context("in the child"),
    }
}
