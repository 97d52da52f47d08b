//! Appends to a store whose server may die, until standard input ends: `turnkeep-test-writer
//! ADDRESS TASK WRITER MILLISECONDS`, where the last is the timeout of a call. Prints `SEQ NUMBER`
//! of each acknowledged message.

#[path = "../it/server/persistent.rs"]
mod persistent;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use turnkeep_repo::{Repo, TaskId};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, task, writer, timeout] = &args[..] else {
        bail!("unknown arguments {args:?}");
    };
    let repo = Repo::builder(address)
        .timeout(Duration::from_millis(timeout.parse()?))
        .open()?;
    let task = TaskId::new(&**task)?;
    let mut out = std::io::stdout().lock();
    for number in 1.. {
        let seq = persistent::append(&task, writer, number, |task, messages| {
            repo.save_messages(task, messages)
        })?;
        writeln!(out, "{seq} {number}")?;
        out.flush()?;
        if input_has_ended() {
            break;
        }
    }
    Ok(())
}

/// Starts watching standard input at the first call.
fn input_has_ended() -> bool {
    static WAITS: AtomicBool = AtomicBool::new(false);
    static HAS_ENDED: AtomicBool = AtomicBool::new(false);
    if !WAITS.swap(true, Ordering::Relaxed) {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            HAS_ENDED.store(true, Ordering::Relaxed);
        });
    }
    HAS_ENDED.load(Ordering::Relaxed)
}
