//! The cost of a store on a PostgreSQL server: appends compared with plain Diesel, reads compared
//! with libpq.
//!
//! All sides use one server and take turns in short rounds. Each row of the tables has its own
//! database. *diesel* appends to the same tables with r2d2's default pool and one INSERT per turn,
//! which numbers the turn and commits. *bare* uses the same pool and a table with a serial key and
//! no order or constraints, which is less than Turnkeep promises. *libpq* is the C library with one
//! connection and a prepared statement, copying each text into a String.
//!
//! `cargo bench --features postgres --bench postgres` runs it; `-- --quick` takes a minute. It
//! starts a throwaway server from the installed programs, with fsync on, or uses the one in
//! `TURNKEEP_TEST_POSTGRES_URL`.

mod libpq;
mod plain;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use turnkeep_repo::{NewTask, Repo, Role, TaskId};
use turnkeep_test_postgres::Server;

use libpq::Libpq;
use plain::Plain;

/// A turn of 1 KiB.
const CONTENT: &str = match std::str::from_utf8(&[b'x'; 1_024]) {
    Ok(text) => text,
    Err(_) => "",
};

/// How a side appends a turn.
type Append<'a> = &'a (dyn Fn(&TaskId) -> Result<()> + Sync);

struct Plan {
    rounds: usize,
    round: Duration,
    reads: usize,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_full = args.iter().any(|arg| arg == "--bench") && !args.iter().any(|a| a == "--quick");
    let plan = if is_full {
        Plan {
            rounds: 15,
            round: Duration::from_millis(600),
            reads: 60,
        }
    } else {
        Plan {
            rounds: 3,
            round: Duration::from_millis(200),
            reads: 10,
        }
    };
    let server = Server::shared()?;
    println!(
        "| durable appends per second | turnkeep | diesel | turnkeep / diesel | bare | turnkeep / bare |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for threads in [1, 8, 32] {
        crowd(threads, server, &plan)?;
    }
    println!("\n| get_history | libpq | turnkeep | turnkeep / libpq |");
    println!("|---|---:|---:|---:|");
    for turns in [100, 1_000, 10_000] {
        history(turns, server, &plan)?;
    }
    println!("\n{}", server.database()?.psql("SELECT version()")?);
    Ok(())
}

/// Appends with `threads` threads, each to its own task.
fn crowd(threads: usize, server: &Server, plan: &Plan) -> Result<()> {
    let database = server.database()?;
    let repo = Repo::open(database.url())?;
    let plain = Plain::open(&database.url())?;
    let tasks: Vec<TaskId> = (0..threads)
        .map(|thread| TaskId::new(format!("crowd-{threads}-{thread}")))
        .collect::<Result<_, _>>()?;
    for task in &tasks {
        repo.save_task(&NewTask::new(task.clone(), "A task"))?;
    }
    let by_turnkeep = |task: &TaskId| -> Result<()> {
        repo.save_message(task, Role::Assistant, CONTENT)?;
        Ok(())
    };
    let by_diesel = |task: &TaskId| plain.append(task.as_str(), CONTENT);
    let bare = |task: &TaskId| plain.append_bare(task.as_str(), CONTENT);
    let sides: [Append; 3] = [&by_turnkeep, &by_diesel, &bare];
    // Diesel's statement needs a history with at least one turn.
    tasks.iter().try_for_each(by_turnkeep)?;
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..=plan.rounds {
        let mut rates_of_round = [0.0; 3];
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            rates_of_round[side] = rate(&tasks, plan.round, sides[side])?;
        }
        // The first round is a warm-up.
        if round > 0 {
            for (rates, rate) in rates.iter_mut().zip(rates_of_round) {
                rates.push(rate);
            }
        }
    }
    for task in &tasks {
        let last = repo.get_history_last(task, 1)?;
        let stored = repo.count_history(task)?;
        ensure!(last[0].seq == stored, "turns are missing");
    }
    let [ours, diesel, bare] = &rates;
    println!(
        "| {threads} threads | {:.0} | {:.0} | {} | {:.0} | {} |",
        median(&mut ours.clone()),
        median(&mut diesel.clone()),
        ratio(ours, diesel),
        median(&mut bare.clone()),
        ratio(ours, bare),
    );
    Ok(())
}

/// Returns the quartiles and the median of the ratios of all rounds.
fn ratio(ours: &[f64], theirs: &[f64]) -> String {
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
    let mut ratios: Vec<f64> = ratios.collect();
    let median = median(&mut ratios);
    let (lower, upper) = (ratios[ratios.len() / 4], ratios[ratios.len() * 3 / 4]);
    format!("{median:.2} ({lower:.2} to {upper:.2})")
}

/// Returns the appends per second that were acknowledged in time.
fn rate(tasks: &[TaskId], time: Duration, append: Append) -> Result<f64> {
    let is_over = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| -> Result<f64> {
        let start = Instant::now();
        let threads: Vec<_> = tasks
            .iter()
            .map(|task| {
                scope.spawn(|| -> Result<()> {
                    while !is_over.load(Ordering::Relaxed) {
                        append(task)?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        std::thread::sleep(time);
        let in_time = done.load(Ordering::Relaxed);
        let elapsed = start.elapsed();
        is_over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(in_time as f64 / elapsed.as_secs_f64())
    })
}

fn history(turns: usize, server: &Server, plan: &Plan) -> Result<()> {
    let database = server.database()?;
    let repo = Repo::open(database.url())?;
    let task = TaskId::new(format!("history-{turns}"))?;
    repo.save_task(&NewTask::new(task.clone(), "A task"))?;
    let message = turnkeep_repo::NewMessage::new(Role::Assistant, CONTENT);
    repo.save_messages(&task, &vec![message; turns])?;
    let mut libpq = Libpq::open(&database.url())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=plan.reads {
        let start = Instant::now();
        let read = libpq.history(task.as_str())?;
        let other = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let history = repo.get_history(&task)?;
        let mine = start.elapsed().as_secs_f64();
        ensure!(read == turns && history.len() == turns, "turns are missing");
        if round > 0 {
            ours.push(mine * 1e6);
            theirs.push(other * 1e6);
        }
    }
    println!(
        "| {turns} turns | {:.0} µs | {:.0} µs | {} |",
        median(&mut theirs.clone()),
        median(&mut ours.clone()),
        ratio(&ours, &theirs),
    );
    Ok(())
}

/// Sorts and returns the median.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
