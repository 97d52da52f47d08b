//! Short ids: the beginning of the id of a task or of its session.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use turnkeep_model::visible;
use turnkeep_repo::{
    ErrorKind, RemovedSession, Repo, SessionId, TaskId, TaskOrder, TaskQuery, TaskSummary,
};

use crate::failure::{Kind, Problem};
use crate::output::{Output, shorten};
use crate::tasks::all_tasks;

/// The candidates that an error shows.
const SHOWN: usize = 10;

/// The most beginnings of ids in a query.
const BATCH: usize = 100;

/// The most ids with one of the beginnings of a batch that are compared.
const FEW: u32 = 400;

/// Ids are cut to so many characters if they are longer than `LONGEST` bytes.
const SHORT: usize = 8;
const LONGEST: usize = 16;

const WHOLE_IDS: &str = "commands that change something take the beginning of an id only on a terminal, without \
    `--json`; `rm` only where it asks";

/// Returns the task with this id, or the only one whose id or session id begins with it. A whole id means its task,
/// also if others begin with it. Without a match it returns the id as it is, so that the command reports it.
pub(crate) fn find(repo: &Repo, given: &TaskId, out: &mut Output) -> anyhow::Result<TaskId> {
    let found = candidates(repo, given)?.only(out)?;
    Ok(found.map_or_else(|| given.clone(), |(id, _)| id))
}

/// Finds the task that a command is going to change. Only a person may give the beginning of its id. When a task is gone,
/// its id may be the beginning of another one's, and a script that repeats a command would change that one.
pub(crate) fn find_to_change(
    repo: &Repo,
    given: &TaskId,
    out: &mut Output,
) -> anyhow::Result<TaskId> {
    candidates(repo, given)?.task_to_change(out.is_for_person(), out)
}

/// Finds the task to remove, by the beginning of its id only if the command asks before it removes. An id that was removed
/// means no other task.
pub(crate) fn find_to_remove(
    repo: &Repo,
    given: &TaskId,
    asks: bool,
    out: &mut Output,
) -> anyhow::Result<TaskId> {
    let removed = repo.list_removed_sessions()?;
    let is_meant =
        |it: &RemovedSession| it.task_id == *given || it.session_id.as_str() == given.as_str();
    match removed.iter().any(is_meant) {
        true => Ok(given.clone()),
        false => candidates(repo, given)?.task_to_change(asks, out),
    }
}

fn candidates(repo: &Repo, given: &TaskId) -> anyhow::Result<Candidates> {
    let mut candidates = Candidates::new(given);
    match repo.get_task(given) {
        Err(error) if *error.kind() == ErrorKind::TaskNotFound => {}
        task => {
            candidates.add(task?.id, None, String::new());
            return Ok(candidates);
        }
    }
    for task in all_tasks(repo, TaskQuery::new().id_prefixes([given.as_str()])) {
        let task = task?;
        candidates.add(task.id, task.session_id.as_ref(), task.name);
    }
    Ok(candidates)
}

/// The tasks that an id may mean, and their names.
pub(crate) struct Candidates {
    given: TaskId,
    /// Those of a session with this very id.
    whole: BTreeMap<TaskId, String>,
    begun: BTreeMap<TaskId, String>,
}

impl Candidates {
    pub(crate) fn new(given: &TaskId) -> Self {
        Self {
            given: given.clone(),
            whole: BTreeMap::new(),
            begun: BTreeMap::new(),
        }
    }

    /// Adds a task if it may be meant.
    pub(crate) fn add(&mut self, id: TaskId, session: Option<&SessionId>, name: String) {
        let given = self.given.as_str();
        let session = session.map_or("", SessionId::as_str);
        if id.as_str() == given || session == given {
            self.whole.insert(id, name);
        } else if id.as_str().starts_with(given) || session.starts_with(given) {
            self.begun.insert(id, name);
        }
    }

    /// Returns the task to change, and names it if its id was shortened. Returns the id as it is if none is meant, so that
    /// the command reports it.
    pub(crate) fn task_to_change(
        self,
        may_be_short: bool,
        out: &mut Output,
    ) -> anyhow::Result<TaskId> {
        let given = self.given.clone();
        let is_short = self.whole.is_empty() && !self.begun.is_empty();
        if is_short && !may_be_short {
            let message = format!("`{given}` is not a whole id, only the beginning of one");
            let problem = Problem::new(Kind::TASK_NOT_FOUND, message).task(&given);
            return Err(problem.hint(WHOLE_IDS).into());
        }
        let Some((id, name)) = self.only(out)? else {
            return Ok(given);
        };
        if is_short {
            out.note(format_args!("{id}  {}", shorten(&name)))?;
        }
        Ok(id)
    }

    /// Returns the task that is meant. Fails if there are several, and lists them.
    fn only(self, out: &mut Output) -> anyhow::Result<Option<(TaskId, String)>> {
        let found = match self.whole.is_empty() {
            true => self.begun,
            false => self.whole,
        };
        if found.len() <= 1 {
            return Ok(found.into_iter().next());
        }
        let mut message = format!("`{}` is the beginning of {} ids", self.given, found.len());
        if out.is_json() {
            let ids = found.keys().take(SHOWN).map(|id| format!("`{id}`"));
            message = format!("{message}: {}", ids.collect::<Vec<_>>().join(", "));
        } else {
            for (id, name) in found.iter().take(SHOWN) {
                out.note(format_args!("{id}  {}", shorten(name)))?;
            }
            if found.len() > SHOWN {
                out.note(format_args!("and {} more", found.len() - SHOWN))?;
            }
        }
        Err(Problem::new(Kind::AMBIGUOUS_ID, message).into())
    }
}

/// Returns the ids of tasks for a list, in visible characters. A long one is cut to a beginning that means its task in
/// the whole store, and the agent is left out where the rest means it too.
pub(crate) fn short(repo: &Repo, tasks: &[TaskSummary]) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::with_capacity(tasks.len());
    for tasks in tasks.chunks(BATCH) {
        let all = names(repo, tasks.iter().map(beginning))?;
        // Where many ids begin like one of them, each beginning is looked up apart.
        let mut apart: BTreeMap<&str, Option<Names>> = BTreeMap::new();
        for task in tasks {
            let names = match (&all, apart.entry(beginning(task))) {
                (Some(names), _) => Some(names),
                (None, Entry::Occupied(names)) => names.into_mut().as_ref(),
                (None, Entry::Vacant(missing)) => {
                    let names = names(repo, [beginning(task)])?;
                    missing.insert(names).as_ref()
                }
            };
            let id = names.map_or(task.id.as_str(), |names| shortest(task, names));
            ids.push(visible(id).into_owned());
        }
    }
    Ok(ids)
}

/// Ids of tasks and sessions, sorted, and the tasks that they mean.
type Names = Vec<(String, TaskId)>;

/// Returns the ids with one of these beginnings. `None` if they are many.
fn names<'b>(
    repo: &Repo,
    beginnings: impl IntoIterator<Item = &'b str>,
) -> anyhow::Result<Option<Names>> {
    let query = TaskQuery::new().order(TaskOrder::Id).limit(FEW);
    let page = repo.list_tasks(&query.id_prefixes(beginnings))?;
    let mut names = Names::new();
    for task in page.tasks {
        if let Some(session) = task.session_id {
            names.push((session.to_string(), task.id.clone()));
        }
        names.push((task.id.to_string(), task.id));
    }
    names.sort_unstable();
    Ok(Some(names).filter(|_| page.next.is_none()))
}

/// Returns the id of a task, or that of its session if an import has made one of the other.
pub(crate) fn named(task: &TaskSummary) -> &str {
    let session = task.session_id.as_ref().map(SessionId::as_str);
    let rest = after_agent(task);
    session
        .filter(|_| session == rest)
        .unwrap_or(task.id.as_str())
}

/// Returns the rest of an id that an import has made, such as `claude:6f1d2c3b`.
pub(crate) fn after_agent(task: &TaskSummary) -> Option<&str> {
    let agent = task.backend_type.as_ref()?;
    task.id
        .as_str()
        .strip_prefix(agent.as_str())?
        .strip_prefix(':')
}

/// Returns the least beginning of an id that a list shows.
fn beginning(task: &TaskSummary) -> &str {
    let id = named(task);
    if id.len() <= LONGEST {
        return id;
    }
    // A session that was replaced has its agent before it.
    let agent = after_agent(task).map_or(0, |rest| id.len().saturating_sub(rest.len()));
    let end = id[agent..].char_indices().nth(SHORT);
    &id[..end.map_or(id.len(), |(end, _)| agent + end)]
}

/// Returns the shortest id that means the task. Its neighbours among all sorted names are the most similar ones.
fn shortest<'t>(task: &'t TaskSummary, names: &Names) -> &'t str {
    let id = named(task);
    let at = names.partition_point(|(name, _)| name.as_str() < id);
    let (before, after) = names.split_at(at);
    let is_other = |name: &&(String, TaskId)| name.1 != task.id;
    let neighbours = [
        before.iter().rev().find(is_other),
        after.iter().find(is_other),
    ];
    let neighbours = neighbours
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str());
    if neighbours.clone().any(|name| name == id) {
        return task.id.as_str();
    }
    let shared = neighbours.map(|name| {
        let bytes = name.bytes().zip(id.bytes());
        bytes.take_while(|(one, other)| one == other).count()
    });
    let shared = shared.max().unwrap_or(0);
    let least = beginning(task).len();
    let ends = id.char_indices().map(|(end, _)| end);
    let end = ends
        .skip_while(|end| *end < least)
        .find(|end| *end > shared);
    &id[..end.unwrap_or(id.len())]
}
