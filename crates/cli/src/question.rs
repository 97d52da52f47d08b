//! Questions that a person answers on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use turnkeep_model::visible;

use crate::output::Output;

/// Whether a person is there to answer.
pub(crate) fn can_ask(out: &Output) -> bool {
    out.is_for_person() && io::stdin().is_terminal()
}

/// Asks, and returns whether the answer is yes. Without an answer it is no.
pub(crate) fn ask(question: &str, out: &mut Output) -> io::Result<bool> {
    write!(out.raw(), "{} [y/N] ", visible(question))?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
