use anstyle::Style;
use indicatif::HumanBytes;
use serde::Serialize;
use turnkeep_admin::{BackendUsage, MonthUsage, TaskUsage, Usage};

use crate::output::{Output, bar};
use crate::record::{micros, seconds};
use crate::store::Store;

#[derive(Serialize)]
struct StatsRecord<'a> {
    statuses: Vec<StatusRecord>,
    backends: Vec<BackendRecord<'a>>,
    months: Vec<MonthRecord>,
    largest: Vec<LargestRecord<'a>>,
    recordings: RecordingsRecord,
    disk_bytes: u64,
    free_bytes: Option<u64>,
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
    status: &'static str,
    updated_at: String,
    turns: u64,
    bytes: u64,
}

pub(crate) fn run(store: Store, out: &mut Output) -> anyhow::Result<()> {
    let usage = turnkeep_admin::usage(&store.open_patiently()?)?;
    if out.is_json() {
        return Ok(out.json(&StatsRecord::from(&usage))?);
    }
    Ok(print(&usage, out)?)
}

fn print(usage: &Usage, out: &mut Output) -> std::io::Result<()> {
    print_statuses(usage, out)?;
    print_backends(&usage.backends, out)?;
    print_months(&usage.months, out)?;
    print_largest(&usage.largest, out)?;
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
    match usage.free_bytes {
        Some(free) => out.line(&format!(
            "on the disk: {disk}, of which free: {}",
            HumanBytes(free)
        )),
        None => out.line(&format!("on the disk: {disk}")),
    }
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

fn print_largest(largest: &[TaskUsage], out: &mut Output) -> std::io::Result<()> {
    if largest.is_empty() {
        return Ok(());
    }
    title("largest tasks", out)?;
    let most = largest.iter().map(|task| task.bytes).max();
    let rows = largest.iter().map(|task| {
        [
            task.id.to_string(),
            task.status.to_string(),
            seconds(task.updated_at),
            task.turns.to_string(),
            size(task.bytes),
            bar(task.bytes, most.unwrap_or_default()),
        ]
    });
    out.table(["TASK", "STATUS", "UPDATED", "TURNS#", "SIZE#", ""], rows)
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
