//! The child's side of the pipes to the driver.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The first argument of a child process.
pub(crate) const COMMAND: &str = "child";

/// Prints a line for the driver. One `write`, so that a kill cannot tear it.
pub(crate) fn say(what: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{what}\n").as_bytes())?;
    out.flush()
}

/// Returns a flag that is set when standard input ends.
pub(crate) fn input_has_ended() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        raised.store(true, Ordering::Relaxed);
    });
    flag
}
