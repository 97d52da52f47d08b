//! What this program does as one of the processes that are killed, starved and deceived.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::bail;

use crate::rows;

/// The first argument of a process that is no driver.
pub(crate) const COMMAND: &str = "child";

pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["write", path, name, seed] => rows::kill::write(path, name, seed.parse()?)?,
        ["fail", folder, sweep, at] => rows::calls::fail(folder, sweep.parse()?, at.parse()?)?,
        ["fill", folder, kib] => rows::space::fill(folder, kib.parse()?)?,
        ["grow", path, appends, opens] => {
            rows::growth::grow(path, appends.parse()?, opens.parse()?)?;
        }
        ["hold", path, millis] => rows::locks::hold(path, millis.parse()?)?,
        ["open", path] => rows::locks::open(path)?,
        ["append", path, bytes] => rows::readers::append_beside(path, bytes.parse()?)?,
        ["reread", path] => rows::readers::reread(path)?,
        ["step", path, name, seed] => rows::clock::append(path, name, seed.parse()?)?,
        ["lease", path, seconds] => rows::clock::lease(path, seconds.parse()?)?,
        ["read", path] => rows::damage::read(path)?,
        ["upgrade", folder, at] => rows::upgrade::upgrade(folder, at.parse()?)?,
        ["restorable", folder] => rows::restore::make(folder)?,
        ["restore", folder, at] => rows::restore::restore(folder, at.parse()?)?,
        ["record-restore", folder, log, renames, what] => {
            rows::restore::record(folder, log, renames.parse()?, what)?;
        }
        ["fixture", path] => rows::upgrade::make_fixture(path)?,
        ["record", folder, log, durability, renames, name, seed] => {
            let (renames, seed) = (renames.parse()?, seed.parse()?);
            rows::power::record(folder, log, durability, renames, name, seed)?;
        }
        _ => bail!("unknown arguments {args:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says a line to the driver. It is there whole or not at all, whatever happens to this process.
pub(crate) fn say(what: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{what}\n").as_bytes())?;
    out.flush()
}

/// Returns a flag that is up once standard input has ended.
pub(crate) fn input_has_ended() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        raised.store(true, Ordering::Relaxed);
    });
    flag
}
