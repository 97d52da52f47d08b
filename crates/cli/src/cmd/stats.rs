use anstyle::Style;
use indicatif::HumanBytes;
use serde::Serialize;
use turnkeep_admin::{BackendUsage, MonthUsage, TaskUsage, Usage};
use turnkeep_model::visible;
use turnkeep_render::cut;
use turnkeep_repo::{Repo, Result, TaskQuery, TaskSummary};
use unicode_width::UnicodeWidthStr as _;

use crate::args::StatsArgs;
use crate::output::{Output, bar, shorten};
use crate::pager;
use crate::record::micros;
use crate::short_id::short;
use crate::store::Store;
use crate::tasks::all_tasks;

mod tokens;

use tokens::TokensRecord;

#[derive(Serialize)]
struct StatsRecord<'a> {
    statuses: Vec<StatusRecord>,
    backends: Vec<BackendRecord<'a>>,
    months: Vec<MonthRecord>,
    largest: Vec<LargestRecord<'a>>,
    recordings: RecordingsRecord,
    disk_bytes: u64,
    free_bytes: Option<u64>,
    tokens: Option<Vec<TokensRecord<'a>>>,
}

#[derive(Serialize)]
struct RecordingsRecord {
    files: u64,
    bytes: u64,
    stored_bytes: u64,
}

#[derive(Serialize)]
struct StatusRecord {
    status: &'static str,
    tasks: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct BackendRecord<'a> {
    backend: Option<&'a str>,
    turns: u64,
    bytes: u64,
    months: Vec<MonthRecord>,
}

#[derive(Serialize)]
struct MonthRecord {
    month: String,
    tasks: u64,
    turns: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct LargestRecord<'a> {
    task_id: &'a str,
    name: Option<&'a str>,
    status: &'static str,
    updated_at: String,
    turns: u64,
    bytes: u64,
}

pub(crate) fn run(args: &StatsArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.open_patiently()?;
    let usage = turnkeep_admin::usage(&repo)?;
    let tokens = match args.tokens {
        true => Some(tokens::read(&repo, usage.recordings.bytes, out)?),
        false => None,
    };
    let largest = summaries(&usage.largest, &repo)?;
    if out.is_json() {
        let mut record = StatsRecord::from(&usage);
        for (record, task) in record.largest.iter_mut().zip(&largest) {
            record.name = task.as_ref().map(|task| task.name.as_str());
        }
        record.tokens = tokens.as_deref().map(tokens::records);
        return Ok(out.json(&record)?);
    }
    match tokens {
        Some(tokens) => Ok(tokens::print(&tokens, out)?),
        None => print(&usage, &largest, &repo, out),
    }
}

/// Returns the tasks as a list has them. `None` for one that is gone meanwhile.
fn summaries(tasks: &[TaskUsage], repo: &Repo) -> Result<Vec<Option<TaskSummary>>> {
    let of = |task: &TaskUsage| {
        let query = TaskQuery::new().id_prefixes([task.id.as_str()]);
        let is_it = |it: &Result<TaskSummary>| it.as_ref().map_or(true, |it| it.id == task.id);
        all_tasks(repo, query).find(is_it).transpose()
    };
    tasks.iter().map(of).collect()
}

fn print(
    usage: &Usage,
    largest: &[Option<TaskSummary>],
    repo: &Repo,
    out: &mut Output,
) -> anyhow::Result<()> {
    print_statuses(usage, out)?;
    print_backends(&usage.backends, out)?;
    print_months(&usage.months, out)?;
    print_largest(&usage.largest, largest, repo, out)?;
    out.line("")?;
    let kept = usage.recordings;
    if kept.files > 0 {
        let (files, bytes) = (kept.files, HumanBytes(kept.bytes));
        let stored = HumanBytes(kept.stored_bytes);
        out.line(&format!(
            "kept files: {files}, {bytes}, in the store {stored}"
        ))?;
    }
    let disk = HumanBytes(usage.disk_bytes);
    let free = usage.free_bytes.map_or_else(String::new, |free| {
        format!(", of which free: {}", HumanBytes(free))
    });
    Ok(out.line(&format!("on the disk: {disk}{free}"))?)
}

fn print_statuses(usage: &Usage, out: &mut Output) -> std::io::Result<()> {
    let most = usage.statuses.iter().map(|status| status.tasks).max();
    let rows = usage.statuses.iter().map(|status| {
        [
            status.status.to_string(),
            status.tasks.to_string(),
            size(status.bytes),
            bar(status.tasks, most.unwrap_or_default()),
        ]
    });
    out.table(["STATUS", "TASKS#", "SIZE#", ""], rows)
}

fn print_backends(backends: &[BackendUsage], out: &mut Output) -> std::io::Result<()> {
    if backends.is_empty() {
        return Ok(());
    }
    title("turns by agent", out)?;
    let most = backends.iter().map(|backend| backend.turns).max();
    let rows = backends.iter().map(|backend| {
        let name = backend.backend.as_ref().map(|backend| backend.as_str());
        [
            name.unwrap_or("-").to_owned(),
            backend.turns.to_string(),
            size(backend.bytes),
            bar(backend.turns, most.unwrap_or_default()),
        ]
    });
    out.table(["AGENT", "TURNS#", "SIZE#", ""], rows)
}

/// The turns of each month, and the total at its end.
fn print_months(months: &[MonthUsage], out: &mut Output) -> std::io::Result<()> {
    if months.is_empty() {
        return Ok(());
    }
    title("growth by month", out)?;
    let most = months.iter().map(|month| month.bytes).max();
    let mut all = 0;
    let rows = months.iter().map(|month| {
        all += month.bytes;
        [
            name(month),
            month.tasks.to_string(),
            month.turns.to_string(),
            size(month.bytes),
            size(all),
            bar(month.bytes, most.unwrap_or_default()),
        ]
    });
    let rows: Vec<_> = rows.collect();
    out.table(["MONTH", "TASKS#", "TURNS#", "SIZE#", "TOTAL#", ""], rows)
}

/// Prints the largest tasks, on a terminal in lines that fit.
fn print_largest(
    usage: &[TaskUsage],
    tasks: &[Option<TaskSummary>],
    repo: &Repo,
    out: &mut Output,
) -> anyhow::Result<()> {
    const TITLES: [&str; 4] = ["ID", "TITLE", "TURNS#", "SIZE#"];
    if usage.is_empty() {
        return Ok(());
    }
    title("largest sessions", out)?;
    let there = usage.iter().zip(tasks);
    let (usage, tasks): (Vec<_>, Vec<_>) = there
        .filter_map(|(usage, task)| Some((usage, task.clone()?)))
        .unzip();
    let rows = usage.iter().zip(&tasks).map(|(usage, task)| {
        [
            task.id.to_string(),
            shorten(&task.name),
            usage.turns.to_string(),
            size(usage.bytes),
        ]
        // Signs are wider than the characters that they stand for.
        .map(|cell| visible(&cell).into_owned())
    });
    let mut rows: Vec<_> = rows.collect();
    if let Some((_, width)) = pager::size().filter(|_| out.is_terminal()) {
        for (row, id) in rows.iter_mut().zip(short(repo, &tasks)?) {
            row[0] = id;
        }
        let widest = |column: usize| {
            let cells = rows.iter().map(|row| row[column].width());
            cells.fold(TITLES[column].len(), usize::max)
        };
        // Two blanks after each.
        let others = widest(0) + widest(2) + widest(3) + 4 * 2;
        for row in &mut rows {
            row[1] = cut(&row[1], width.saturating_sub(others).max(8)).into_owned();
        }
    }
    Ok(out.table(TITLES, rows)?)
}

fn title(text: &str, out: &mut Output) -> std::io::Result<()> {
    out.line("")?;
    out.title(Style::new().underline(), text)
}

fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// The month, as in RFC 3339.
fn name(month: &MonthUsage) -> String {
    format!("{:04}-{:02}", month.year, month.month)
}

impl<'a> From<&'a Usage> for StatsRecord<'a> {
    fn from(usage: &'a Usage) -> Self {
        let statuses = usage.statuses.iter().map(|status| StatusRecord {
            status: status.status.as_str(),
            tasks: status.tasks,
            bytes: status.bytes,
        });
        let backends = usage.backends.iter().map(|backend| BackendRecord {
            backend: backend.backend.as_ref().map(|backend| backend.as_str()),
            turns: backend.turns,
            bytes: backend.bytes,
            months: backend.months.iter().map(MonthRecord::from).collect(),
        });
        let largest = usage.largest.iter().map(|task| LargestRecord {
            task_id: task.id.as_str(),
            name: None,
            status: task.status.as_str(),
            updated_at: micros(task.updated_at),
            turns: task.turns,
            bytes: task.bytes,
        });
        Self {
            statuses: statuses.collect(),
            backends: backends.collect(),
            months: usage.months.iter().map(MonthRecord::from).collect(),
            largest: largest.collect(),
            recordings: RecordingsRecord {
                files: usage.recordings.files,
                bytes: usage.recordings.bytes,
                stored_bytes: usage.recordings.stored_bytes,
            },
            disk_bytes: usage.disk_bytes,
            free_bytes: usage.free_bytes,
            tokens: None,
        }
    }
}

impl From<&MonthUsage> for MonthRecord {
    fn from(month: &MonthUsage) -> Self {
        Self {
            month: name(month),
            tasks: month.tasks,
            turns: month.turns,
            bytes: month.bytes,
        }
    }
}
