//! `list`, page by page: a list of any length takes the memory of one page.

use chrono::{DateTime, Datelike as _, Utc};
use turnkeep_render::{cut, cut_left};
use turnkeep_repo::{Repo, TaskOrder, TaskQuery, TaskStatus, TaskSummary};
use unicode_width::UnicodeWidthStr as _;

use crate::args::{ListArgs, TaskSort};
use crate::environment::with_tilde;
use crate::folder::as_recorded;
use crate::output::{Output, in_sight, shorten};
use crate::pager;
use crate::record;
use crate::short_id::{after_agent, short};
use crate::when;

const PAGE: u32 = 1_000;

/// The lines of a terminal that are no rows: the header, the note and the prompt.
const OTHER_LINES: usize = 3;

const FEWEST_ROWS: usize = 5;

/// A terminal of this width has room for times besides words.
const WIDE: usize = 120;

/// The blanks after a column.
const GAP: usize = 2;

/// The least width of ids, titles and folders.
const NARROWEST: usize = 8;

/// Longer names of agents are cut.
const WIDEST_AGENT: usize = 12;

pub(crate) fn run(args: ListArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let terminal = pager::size().filter(|_| out.is_for_person());
    let fitting = terminal.map(|(rows, _)| rows.saturating_sub(OTHER_LINES).max(FEWEST_ROWS));
    let most = match (args.limit, fitting) {
        (Some(limit), _) => limit as usize,
        (None, Some(fitting)) if !args.all => fitting,
        _ => usize::MAX,
    };
    let is_cut = args.limit.is_none() && !args.all;
    let mut list = List {
        width: terminal.map(|(_, columns)| columns),
        has_status: None,
        now: Utc::now(),
    };
    let mut query = query(args)?;
    let mut left = most;
    loop {
        let size = PAGE.min(u32::try_from(left).unwrap_or(PAGE));
        let page = repo.list_tasks(&query.clone().limit(size))?;
        left -= page.tasks.len();
        list.print(&page.tasks, repo, out)?;
        match page.next {
            Some(next) if left > 0 => query = query.after(next),
            _ if most > 0 && list.has_status.is_none() && !out.is_json() => {
                out.note("no sessions or tasks")?;
                return Ok(());
            }
            Some(_) if is_cut => {
                out.note("there are more: `--all` lists them, `--folder`, `--agent` or `--since` some of them")?;
                return Ok(());
            }
            _ => return Ok(()),
        }
    }
}

/// Prints tasks as `list` does.
pub(super) fn print(tasks: &[TaskSummary], repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let terminal = pager::size().filter(|_| out.is_terminal());
    let mut list = List {
        width: terminal.map(|(_, columns)| columns),
        has_status: None,
        now: Utc::now(),
    };
    list.print(tasks, repo, out)
}

fn query(args: ListArgs) -> anyhow::Result<TaskQuery> {
    let mut query = TaskQuery::new().order(match args.sort {
        TaskSort::Active => TaskOrder::LastActive,
        TaskSort::Created => TaskOrder::Created,
        TaskSort::Id => TaskOrder::Id,
    });
    if !args.status.is_empty() {
        query = query.statuses(args.status);
    }
    if let Some(agent) = args.agent {
        query = query.backend(agent);
    }
    if let Some(folder) = args.folder {
        query = query.folders(as_recorded(&folder)?);
    }
    if let Some(dir) = args.working_dir {
        query = query.working_dir(dir);
    }
    if let Some(role) = args.agent_role {
        query = query.agent_role(role);
    }
    for (key, text) in args.metadata {
        query = query.metadata(key, text);
    }
    // No task is older than the year 0.
    if let Some(time) = args.since.filter(|time| time.year() >= 0) {
        query = query.active_since(time);
    }
    Ok(query)
}

struct List {
    /// The columns of the terminal. A file gets whole ids and folders.
    width: Option<usize>,
    /// Whether a row of the first page has a status that says something. `None` before that.
    has_status: Option<bool>,
    now: DateTime<Utc>,
}

impl List {
    /// Prints a page. Only the first has the header.
    fn print(
        &mut self,
        tasks: &[TaskSummary],
        repo: &Repo,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        const TITLES: [&str; 7] = [
            "ID", "TITLE", "AGENT", "FOLDER", "TURNS#", "ACTIVE", "STATUS",
        ];
        if out.is_json() {
            return Ok(tasks
                .iter()
                .try_for_each(|task| out.json(&record::summary(task)))?);
        }
        if tasks.is_empty() {
            return Ok(());
        }
        let is_first = self.has_status.is_none();
        let has_status = tasks.iter().any(|task| status(task).is_some());
        let has_status = *self.has_status.get_or_insert(has_status);
        let mut rows: Vec<_> = tasks.iter().map(|task| self.row(task)).collect();
        if let Some(width) = self.width {
            for (row, id) in rows.iter_mut().zip(short(repo, tasks)?) {
                row[0] = id;
            }
            fit(&mut rows, &TITLES, width, has_status);
        }
        if has_status {
            return Ok(out.table_part(TITLES, rows, is_first)?);
        }
        let [titles @ .., _] = TITLES;
        let rows = rows.into_iter().map(|[row @ .., _]| row);
        Ok(out.table_part(titles, rows, is_first)?)
    }

    fn row(&self, task: &TaskSummary) -> [String; 7] {
        let agent = task.backend_type.as_ref().map(ToString::to_string);
        let folder = task.working_dir.as_ref().map(|it| with_tilde(it.as_str()));
        let is_narrow = self.width.is_some_and(|width| width < WIDE);
        let row = [
            task.id.to_string(),
            shorten(&task.name),
            agent.unwrap_or_else(|| "-".into()),
            folder.unwrap_or_else(|| "-".into()),
            task.turns.to_string(),
            last_active(task, self.now, is_narrow),
            status(task).map_or_else(String::new, |it| it.to_string()),
        ];
        // Signs are wider than what they stand for.
        row.map(in_sight)
    }
}

/// Returns the status, unless it is that of every imported session.
pub(super) fn status(task: &TaskSummary) -> Option<TaskStatus> {
    let is_plain = task.status == TaskStatus::Completed && after_agent(task).is_some();
    (!is_plain).then_some(task.status)
}

fn last_active(task: &TaskSummary, now: DateTime<Utc>, is_narrow: bool) -> String {
    let words = when::in_words(task.last_active_at, now);
    if is_narrow {
        return words;
    }
    let minutes = when::in_minutes(task.last_active_at);
    match minutes.starts_with(&words) {
        // An older time is a day in words.
        true => minutes,
        false => format!("{minutes}, {words}"),
    }
}

/// Cuts cells so that each row fits in a line: folders at the left, the others at the right. Long titles give way first,
/// then folders, agents and ids.
fn fit(rows: &mut [[String; 7]], titles: &[&str; 7], width: usize, has_status: bool) {
    let [mut id, title, mut agent, mut folder, turns, active, status] =
        [0, 1, 2, 3, 4, 5, 6].map(|column: usize| {
            let cells = rows.iter().map(|row| row[column].width());
            let header = titles[column].trim_end_matches('#').width();
            cells.fold(header, usize::max)
        });
    agent = agent.min(WIDEST_AGENT);
    let status = if has_status { GAP + status } else { 0 };
    let left = width.saturating_sub(agent + turns + active + status + 5 * GAP);
    id = id.min(left.saturating_sub(2 * NARROWEST).max(NARROWEST));
    let left = left.saturating_sub(id).max(2 * NARROWEST);
    // A folder gets a third, and what titles leave.
    folder = folder.min((left / 3).max(NARROWEST).max(left.saturating_sub(title)));
    for row in &mut *rows {
        row[3] = cut_left(&row[3], folder).into_owned();
    }
    // A folder may be cut to less than its share.
    let folders = rows.iter().map(|row| row[3].width());
    let title = title.min(left - folders.fold(titles[3].width(), usize::max));
    for row in rows {
        for (column, columns) in [(0, id), (1, title), (2, agent)] {
            row[column] = cut(&row[column], columns).into_owned();
        }
    }
}
