//! Long output on a terminal.

use std::io::{self, Write};
use std::process::Child;

use console::Term;

use crate::failure::warn;
use crate::output::{Output, in_words};

/// The width of a terminal of which it is not known, and of a file.
const WIDTH: usize = 80;

/// Returns the rows and columns of the terminal on standard output.
pub(crate) fn size() -> Option<(usize, usize)> {
    let (rows, columns) = Term::stdout().size_checked()?;
    // A serial line says that it has none.
    (rows > 0 && columns > 0).then_some((rows.into(), columns.into()))
}

/// Returns the columns of the output.
pub(crate) fn columns() -> usize {
    size().map_or(WIDTH, |(_, columns)| columns)
}

/// Output that goes through `$PAGER`, or else `less`, if it is longer than the terminal.
///
/// It has to be finished. If it is dropped instead, after an error, it waits for the pager as well: the shell and the
/// pager would read the same keys.
pub(crate) struct Pager<'o> {
    out: &'o mut Output,
    /// The output so far, while it fits on the terminal.
    waiting: Option<Vec<u8>>,
    rows: usize,
    pager: Option<Child>,
}

impl<'o> Pager<'o> {
    pub(crate) fn new(out: &'o mut Output) -> Self {
        let size = size().filter(|_| out.is_terminal());
        Self {
            out,
            waiting: size.map(|_| Vec::new()),
            // The prompt of the shell needs a row.
            rows: size.map_or(0, |(rows, _)| rows.saturating_sub(1)),
            pager: None,
        }
    }

    /// Writes the rest, and waits until the user has left the pager.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some(waiting) = self.waiting.take() {
            self.out.raw().write_all(&waiting)?;
        }
        self.wait();
        Ok(())
    }

    fn wait(&mut self) {
        if let Some(mut pager) = self.pager.take() {
            drop(pager.stdin.take());
            // 127 is the shell's code for a program that does not exist.
            let has_run = pager.wait().is_ok_and(|status| status.code() != Some(127));
            if !has_run {
                warn("the program in PAGER can't be run");
            }
        }
    }
}

impl Drop for Pager<'_> {
    fn drop(&mut self) {
        self.wait();
    }
}

impl Write for Pager<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(waiting) = &mut self.waiting {
            waiting.extend(bytes);
            if waiting.iter().filter(|byte| **byte == b'\n').count() <= self.rows {
                return Ok(bytes.len());
            }
        }
        if let Some(waiting) = self.waiting.take() {
            self.out.flush()?;
            self.pager = start();
            match self.pager.as_mut().and_then(|it| it.stdin.as_mut()) {
                Some(stdin) => stdin.write_all(&waiting).map_err(in_words)?,
                None => self.out.raw().write_all(&waiting)?,
            }
            return Ok(bytes.len());
        }
        match self.pager.as_mut().and_then(|it| it.stdin.as_mut()) {
            Some(stdin) => stdin.write(bytes).map_err(in_words),
            None => self.out.raw().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.pager.as_mut().and_then(|it| it.stdin.as_mut()) {
            Some(stdin) => stdin.flush().map_err(in_words),
            None => self.out.flush(),
        }
    }
}

/// Starts the pager. `None` if the user wants none, or if there is none.
#[cfg(unix)]
fn start() -> Option<Child> {
    use std::env;
    use std::process::{Command, Stdio};
    use std::sync::{Arc, atomic::AtomicBool};

    use signal_hook::consts::SIGINT;

    let mut command = match env::var("PAGER") {
        Ok(pager) if pager.is_empty() || pager == "cat" => return None,
        Ok(pager) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &pager]);
            shell
        }
        Err(_) => Command::new("less"),
    };
    if env::var_os("LESS").is_none() {
        // Ends at once on a short text, shows colours, and leaves the text on the terminal.
        command.env("LESS", "FRX");
    }
    // Ctrl-C is a key of the pager. Without a handler it would end this process, which waits for the pager.
    drop(signal_hook::flag::register(
        SIGINT,
        Arc::new(AtomicBool::new(false)),
    ));
    command.stdin(Stdio::piped()).spawn().ok()
}

#[cfg(not(unix))]
fn start() -> Option<Child> {
    None
}
