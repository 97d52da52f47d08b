//! Long output on a terminal.

use std::io::{self, ErrorKind, Write};
use std::process::Child;

use anstream::adapter::strip_str;
use console::Term;
use unicode_width::UnicodeWidthStr as _;

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
    state: State,
}

enum State {
    /// The output so far fits on the terminal.
    Waiting(Screen),
    Paging(Paging),
    /// There is no pager.
    Direct,
    /// The user has left the pager.
    Left,
}

impl<'o> Pager<'o> {
    pub(crate) fn new(out: &'o mut Output) -> Self {
        let size = size().filter(|_| out.is_terminal());
        let state = size.map_or(State::Direct, |(rows, columns)| {
            State::Waiting(Screen {
                output: Vec::new(),
                counted: 0,
                // The prompt of the shell needs a row.
                rows_left: rows.saturating_sub(1),
                columns,
            })
        });
        Self { out, state }
    }

    /// Whether the user wants to see no more.
    pub(crate) fn is_left(&self) -> bool {
        matches!(self.state, State::Left)
    }

    /// Writes the rest, and waits until the user has left the pager.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let State::Waiting(screen) = &self.state {
            self.out.raw().write_all(&screen.output)?;
        }
        self.end()
    }

    /// Waits for the pager. If that could not be run, the output is written without it.
    fn end(&mut self) -> io::Result<()> {
        let State::Paging(paging) = std::mem::replace(&mut self.state, State::Left) else {
            return Ok(());
        };
        if let Some(output) = paging.end() {
            warn("the program in PAGER can't be run");
            self.state = State::Direct;
            self.out.raw().write_all(&output)?;
        }
        Ok(())
    }

    fn page(&mut self, bytes: &[u8]) -> io::Result<()> {
        let State::Paging(paging) = &mut self.state else {
            return Ok(());
        };
        match paging.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.end(),
            result => result.map_err(in_words),
        }
    }
}

impl Drop for Pager<'_> {
    fn drop(&mut self) {
        // The error that was before this one is reported.
        let _ = self.end();
    }
}

impl Write for Pager<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Waiting(screen) => {
                if !screen.takes(bytes) {
                    let output = std::mem::take(&mut screen.output);
                    self.out.flush()?;
                    self.state = Paging::start().map_or(State::Direct, State::Paging);
                    match &self.state {
                        State::Paging(_) => self.page(&output)?,
                        _ => self.out.raw().write_all(&output)?,
                    }
                }
            }
            State::Paging(_) => self.page(bytes)?,
            State::Direct => return self.out.raw().write(bytes),
            State::Left => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Direct => self.out.flush(),
            _ => Ok(()),
        }
    }
}

/// The output before it is known whether it fits.
struct Screen {
    output: Vec<u8>,
    /// The bytes of the lines that are counted.
    counted: usize,
    rows_left: usize,
    columns: usize,
}

impl Screen {
    /// Adds to the output, and returns whether it still fits. A line that is too long takes several rows.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        self.output.extend(bytes);
        while let Some(length) = self.output[self.counted..]
            .iter()
            .position(|it| *it == b'\n')
        {
            let line = &self.output[self.counted..self.counted + length];
            let line = String::from_utf8_lossy(line);
            let columns = strip_str(&line).to_string().width();
            let Some(left) = self
                .rows_left
                .checked_sub(columns.div_ceil(self.columns).max(1))
            else {
                return false;
            };
            self.rows_left = left;
            self.counted += length + 1;
        }
        true
    }
}

/// A running pager.
struct Paging {
    pager: Child,
    /// The output while it may be that no program has read it: a pipe holds up to 1 MiB.
    unread: Option<Vec<u8>>,
}

impl Paging {
    const PIPE: usize = 1024 * 1024;

    fn start() -> Option<Self> {
        let pager = start()?;
        let unread = Some(Vec::new());
        Some(Self { pager, unread })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(unread) = &mut self.unread {
            unread.extend(bytes);
        }
        self.unread.take_if(|it| it.len() > 2 * Self::PIPE);
        match &mut self.pager.stdin {
            Some(stdin) => stdin.write_all(bytes),
            None => Ok(()),
        }
    }

    /// Waits, and returns the output if no program has read it.
    fn end(mut self) -> Option<Vec<u8>> {
        drop(self.pager.stdin.take());
        let status = self.pager.wait();
        // The codes of the shell for a program that does not exist, and for one that can't be run.
        let has_run = status.is_ok_and(|it| !matches!(it.code(), Some(126 | 127)));
        self.unread.filter(|_| !has_run)
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
