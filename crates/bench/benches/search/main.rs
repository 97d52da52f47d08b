//! The full-text index: the time to make it and to bring it up to date, its size, its memory, and the time of an answer,
//! for the words of turns and then for tool calls.
//!
//! The corpus is 1,000 sessions of Claude Code with 1 GB of recordings, of which 35 MB are words. They are imported with
//! their files, so that the index is made from a store as a user has it. `cargo bench --bench search` runs it:
//! `--dir FOLDER` names the folder, `--keep` leaves the corpus in it and uses the one that is there.

mod corpus;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use turnkeep_agents::{AgentHomes, ImportOptions, import};
use turnkeep_repo::{Repo, Role, TaskOrder, TaskQuery};
use turnkeep_search::{Index, Query};

use corpus::{Random, turn, word, write_session};

/// The sizes of the corpus.
struct Size {
    sessions: usize,
    tool_bytes: usize,
}

const FULL: Size = Size {
    sessions: 1_000,
    tool_bytes: 1_000_000,
};
const TEST: Size = Size {
    sessions: 20,
    tool_bytes: 5_000,
};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name| args.iter().skip_while(|arg| *arg != name).nth(1);
    if let Some(folder) = value("--measure") {
        return measure(Path::new(folder));
    }
    // `cargo test` passes no `--bench`.
    let size = if args.iter().any(|arg| arg == "--bench") {
        FULL
    } else {
        TEST
    };
    let folder = value("--dir").map_or_else(std::env::temp_dir, PathBuf::from);
    if args.iter().any(|arg| arg == "--keep") {
        return run(&folder, &size);
    }
    let folder = tempfile::Builder::new()
        .prefix("turnkeep-bench-")
        .tempdir_in(folder)?;
    run(folder.path(), &size)
}

fn run(folder: &Path, size: &Size) -> Result<()> {
    let store = folder.join("store.db");
    if !store.exists() {
        make(folder, &store, size)?;
    }
    // A process of its own, whose peak of memory is that of the index.
    let measure = Command::new(std::env::current_exe()?)
        .arg("--measure")
        .arg(folder)
        .status()?;
    ensure!(measure.success(), "the measurement failed");
    Ok(())
}

/// Writes the recordings and imports them.
fn make(folder: &Path, store: &Path, size: &Size) -> Result<()> {
    let home = folder.join(".claude");
    let mut words = 0;
    for number in 0..size.sessions {
        words += write_session(&home, number, size.tool_bytes)?;
    }
    let started = Instant::now();
    let found = turnkeep_recordings::find(&home, None)?;
    let homes = AgentHomes::new(home, folder.join(".codex"), folder.join(".goose"));
    let repo = Repo::open(store)?;
    import(
        &repo,
        &found,
        &ImportOptions::new("bench", homes),
        &mut |_| {},
    )?;
    println!(
        "{} sessions with {} of words were imported in {:.1} s.",
        size.sessions,
        megabytes(words as u64),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn measure(folder: &Path) -> Result<()> {
    let repo = Repo::open(folder.join("store.db"))?;
    let path = folder.join("store.db.search");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let words = bytes_of_words(&repo)?;
    let before = peak()?;

    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let index = Index::open(&repo, &path)?;
    let turns = index.update()?.added_turns;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    println!("\n| measure | result |\n|---|---:|");
    println!("| words in {turns} turns | {} |", megabytes(words));
    println!(
        "| first update | {seconds:.2} s, {:.2} s per 100 MB |",
        seconds * 1e8 / words as f64
    );
    println!(
        "| its time on the processor | {cpu:.2} s, {:.2} s per 100 MB |",
        cpu * 1e8 / words as f64
    );
    let size = fs::metadata(&path)?.len();
    println!(
        "| size of the index | {}, {:.2} of the words |",
        megabytes(size),
        size as f64 / words as f64
    );
    println!(
        "| update without a change | {:.1} ms |",
        millis(|| index.update())?
    );

    let tasks = repo
        .list_tasks(&TaskQuery::new().order(TaskOrder::Id).limit(10))?
        .tasks;
    let mut random = Random::new(1 << 40);
    let mut grow = Vec::new();
    for _ in 0..5 {
        for task in &tasks {
            for _ in 0..5 {
                repo.save_message(&task.id, Role::User, &turn(&mut random))?;
            }
        }
        grow.push(millis(|| index.update())?);
    }
    println!(
        "| update after 10 sessions grew by 5 turns each | {} |",
        median_and_most(grow)
    );

    for (name, words) in [
        ("the most common word", word(0)),
        ("two common words", format!("{} {}", word(2), word(3))),
        ("a rare word", word(40_000)),
        (
            "three words, one excluded",
            format!("{} {} -{}", word(50), word(300), word(1)),
        ),
        ("a phrase", format!("\"{} {}\"", word(1), word(2))),
        ("a beginning of a word", "stator*".to_owned()),
        ("a letter and all that follows", "s*".to_owned()),
        ("a character of Japanese", "\u{4e10}".to_owned()),
    ] {
        let query = Query::new(words);
        let hits = index.search(&query)?.len();
        let times = (0..9).map(|_| millis(|| index.search(&query)));
        let times = times.collect::<Result<_>>()?;
        println!(
            "| answer: {name}, {hits} hits | {} |",
            median_and_most(times)
        );
    }
    if let (Some(before), Some(after)) = (before, peak()?) {
        println!(
            "| peak of memory, and before | {}, {} |",
            megabytes(after),
            megabytes(before)
        );
    }
    measure_tool_calls(folder, &repo, &index, size)
}

/// Measures the part of the index for tool calls, which comes beside the words.
fn measure_tool_calls(folder: &Path, repo: &Repo, index: &Index, words: u64) -> Result<()> {
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let calls = index.update_tool_calls()?.added_calls;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    let size = fs::metadata(folder.join("store.db.search"))?.len() - words;
    println!(
        "| first update of {calls} tool calls | {seconds:.1} s, on the processor {cpu:.1} s |"
    );
    println!("| size of their part of the index | {} |", megabytes(size));
    println!(
        "| update of tool calls without a change | {:.1} ms |",
        millis(|| index.update_tool_calls())?
    );
    let query = TaskQuery::new().order(TaskOrder::Id).limit(10);
    for task in repo.list_tasks(&query)?.tasks {
        let files = repo.get_recordings(&task.id)?;
        let file = files.first().context("no recording")?;
        let line = "{\"message\":{\"content\":[{\"type\":\"tool_use\",\"name\":\"Bash\",\"input\":\"ls\"}]}}\n";
        repo.save_recording(&task.id, &file.name, file.length, line.as_bytes())?;
    }
    println!(
        "| update after 10 sessions called a tool | {:.1} ms |",
        millis(|| index.update_tool_calls())?
    );
    for (name, words) in [
        ("a common word", word(0)),
        ("a rare word", word(40_000)),
        ("a phrase", format!("\"{} {}\"", word(1), word(2))),
    ] {
        let query = Query::new(words);
        let hits = index.search_tool_calls(&query)?.hits.len();
        let times = (0..5).map(|_| millis(|| index.search_tool_calls(&query)));
        let times = times.collect::<Result<_>>()?;
        println!(
            "| answer from tool calls: {name}, {hits} hits | {} |",
            median_and_most(times)
        );
    }
    if let Some(peak) = peak()? {
        println!("| peak of memory | {} |", megabytes(peak));
    }
    Ok(())
}

fn bytes_of_words(repo: &Repo) -> Result<u64> {
    let mut query = TaskQuery::new().order(TaskOrder::Id);
    let mut bytes = 0;
    loop {
        let page = repo.list_tasks(&query)?;
        for task in page.tasks {
            let turns = repo.get_history(&task.id)?;
            bytes += turns
                .iter()
                .map(|turn| turn.content.len() as u64)
                .sum::<u64>();
        }
        match page.next {
            Some(next) => query = query.after(next),
            None => return Ok(bytes),
        }
    }
}

fn millis<T>(run: impl FnOnce() -> turnkeep_search::Result<T>) -> Result<f64> {
    let started = Instant::now();
    run()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn median_and_most(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let most = times.last().copied().unwrap_or_default();
    format!("{:.1} ms, at most {most:.1} ms", times[times.len() / 2])
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Returns the time of this process on the processor, in hundredths of a second. 0 where it is not Linux.
fn cpu_seconds() -> f64 {
    let status = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, user and system, after the name in brackets.
    let fields = status.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Returns the peak of this process's memory. Only Linux reports it.
fn peak() -> Result<Option<u64>> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return Ok(None);
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no peak")?;
    Ok(Some(kilobytes.parse::<u64>()? * 1024))
}
