//! A wall clock that jumps, within processes and between them.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fastrand::Rng;
use turnkeep_repo::{Repo, Role, TaskId, TaskStatus, WorkerId};

use crate::driver::{Rounds, Row};
use crate::process::Process;
use crate::{child, interpose, store};

pub(crate) const ROW: Row = Row {
    name: "clock",
    holds: "the wall clock jumps within and between processes: the order is unchanged; \
            a lease taken with a wrong clock has expired",
    short: 20,
    full: 20,
    run,
};

const EACH: u64 = 20;
const THREADS: usize = 2;

/// The length of a lease in seconds.
const HOUR: i64 = 60 * 60;

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let mut steps = 0;
    rounds.each(|_, rng| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(store::FILE);
        steps += step(&path, rng)?;
        lease_by_a_wrong_clock(&path, rng)
    });
    rounds.note(format!("{steps} steps back between turns"));
    Ok(())
}

/// Appends with pairs of processes in turn and returns how often the clock stepped back.
fn step(path: &Path, rng: &mut Rng) -> anyhow::Result<usize> {
    let place = path.to_str().context("a path in UTF-8")?;
    let mut acknowledged = Vec::new();
    let mut writers = Vec::new();
    for generation in 0..3 {
        let pair = [0, 1].map(|number| {
            let name = format!("g{generation}p{number}");
            let process = Process::start(&["step", place, &name, &rng.u64(..).to_string()]);
            writers.extend((0..THREADS).map(|thread| format!("{name}t{thread}")));
            process
        });
        for process in pair {
            acknowledged.extend(process?.finish()?);
        }
    }
    let repo = Repo::open(path)?;
    let task = store::save_task(&repo, "t")?;
    let stored = store::contents(&repo, &task)?;
    ensure!(
        stored.len() == acknowledged.len(),
        "all of them, and each once"
    );
    for line in &acknowledged {
        let (seq, text) = line.split_once(' ').context("a seq and a text")?;
        let found = &stored[seq.parse::<usize>()? - 1];
        ensure!(
            found == text,
            "turn {seq} is `{found}`, acknowledged was `{text}`"
        );
    }
    for writer in writers {
        let own = stored.iter().filter(|text| text.starts_with(&writer));
        let expected: Vec<String> = (1..=EACH).map(|n| format!("{writer} {n}")).collect();
        ensure!(own.eq(&expected), "{writer} is out of order");
    }
    // Turns of different generations; each generation is in order by any clock.
    let history = repo.get_history(&task)?;
    let generations: Vec<&str> = history.iter().map(|turn| &turn.content[..2]).collect();
    ensure!(
        generations.is_sorted(),
        "a later process stands before an earlier one"
    );
    let times: Vec<_> = history.iter().map(|turn| turn.timestamp).collect();
    let steps = times.windows(2).filter(|pair| pair[1] < pair[0]).count();
    ensure!(steps > 0, "the clock did not step, so nothing was tried");
    Ok(steps)
}

/// Takes a lease in a process with a wrong clock, and then with the right one.
fn lease_by_a_wrong_clock(path: &Path, rng: &mut Rng) -> anyhow::Result<()> {
    let place = path.to_str().context("a path in UTF-8")?;
    let repo = Repo::open(path)?;
    let worker = WorkerId::new("right")?;
    let off = match rng.bool() {
        // From twice the length of the lease to a century.
        true => rng.i64(2 * HOUR..100 * 365 * 24 * HOUR),
        false => -rng.i64(2 * HOUR..50 * 365 * 24 * HOUR),
    };
    for (off, is_over) in [(0, false), (off, true)] {
        let lines = Process::start(&["lease", place, &off.to_string()])?.finish()?;
        let task = TaskId::new(lines.concat())?;
        let fence = repo.get_task(&task)?.fence;
        let given_out = match rng.bool() {
            true => repo.requeue_running()?,
            false => {
                let claims = repo.claim_ready(&worker, 9, Duration::from_secs(60))?;
                claims.into_iter().map(|claim| claim.task.id).collect()
            }
        };
        ensure!(
            given_out.contains(&task) == is_over,
            "with the clock {off} s off, {given_out:?} were given out"
        );
        let expected = fence.get() + i64::from(is_over);
        ensure!(repo.get_task(&task)?.fence == expected, "the fence");
        repo.update_task_status(&task, TaskStatus::Completed)?;
    }
    Ok(())
}

/// Takes a lease of an hour with a shifted clock and prints the claimed tasks.
pub(crate) fn lease(path: &str, off: i64) -> anyhow::Result<()> {
    interpose::shift_clock(off);
    let repo = Repo::open(path)?;
    let task = store::save_task(&repo, &format!("leased{off}"))?;
    let worker = WorkerId::new("wrong")?;
    let claims = repo.claim_ready(&worker, 9, Duration::from_secs(HOUR.unsigned_abs()))?;
    ensure!(
        claims.iter().any(|claim| claim.task.id == task),
        "{task} was not given out"
    );
    Ok(child::say(task)?)
}

/// Appends with a clock that jumps at each read.
pub(crate) fn append(path: &str, name: &str, seed: u64) -> anyhow::Result<()> {
    interpose::shake_clock(seed);
    let repo = Repo::open(path)?;
    let task = store::save_task(&repo, "t")?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let writer = format!("{name}t{number}");
                let (repo, task) = (&repo, &task);
                scope.spawn(move || -> anyhow::Result<()> {
                    for number in 1..=EACH {
                        let text = format!("{writer} {number}");
                        let seq = repo.save_message(task, Role::User, &text)?;
                        child::say(format_args!("{seq} {text}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|_| bail!("a writer panicked"))
        })
    })
}
