//! The tokens of a store, from the files that it keeps.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use turnkeep_model::{BackendType, RecordingFile, WorkingDir};
use turnkeep_recordings::{Error as RecordingError, TokenRecord, Tokens, token_records};
use turnkeep_repo::chrono::Datelike as _;
use turnkeep_repo::{Repo, Result, TaskOrder, TaskQuery, TaskSummary};

use crate::kept::present_files;

/// The most answers of which copies are known, 8 bytes each. In a larger store a copy may be counted again.
const MOST_ANSWERS: usize = 4 * 1024 * 1024;

/// The most rows of the result. Only hostile recordings have more months and models; these are counted without both.
const MOST_ROWS: usize = 20_000;

const PAGE: u32 = 1_000;

/// The tokens of an agent and a model in a folder and a month.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenUsage {
    /// The year and the month, 1 to 12, in UTC. `None` if the recordings have no time.
    pub month: Option<(i32, u32)>,
    /// The agent of the task's current session. `None` without one.
    pub backend_type: Option<BackendType>,
    /// The folder of that session.
    pub working_dir: Option<WorkingDir>,
    /// The model. `None` if the recordings do not say.
    pub model: Option<String>,
    /// The number of answers, or of whole sessions of Goose.
    pub answers: u64,
    /// The tokens.
    pub tokens: Tokens,
}

/// Sums up the tokens that agents have recorded in the kept files of all tasks ([`Repo::get_recordings`]), also those of
/// sub-agents. The rows are in order of month, agent, folder and model.
///
/// An answer is counted once, also if several files have it, such as those of a fork. `on_file` gets each file with
/// the result of reading it. A file that can't be read is left out, or counted up to the damage.
///
/// Reads the bytes of all these files, one after the other, and keeps in memory a line, the sums, and 8 bytes for each
/// answer. The numbers are those of the agents and may be wrong.
///
/// # Errors
/// The [errors of every call](Repo#errors-of-every-call) from the lists of tasks and files.
///
/// ```
/// use turnkeep_agents::token_usage;
/// use turnkeep_repo::{NewTask, RecordingName, Repo, TaskId};
///
/// # let repo = Repo::open_in_memory()?;
/// # let task = TaskId::new("t1")?;
/// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
/// let line = br#"{"message":{"id":"msg_1","model":"opus","usage":{"output_tokens":7}}}"#;
/// let name = RecordingName::new("projects/-srv/s.jsonl")?;
/// repo.save_recording(&task, &name, 0, line)?;
/// let usage = token_usage(&repo, &mut |_, _| {})?;
/// assert_eq!((usage[0].model.as_deref(), usage[0].tokens.output), (Some("opus"), 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn token_usage(
    repo: &Repo,
    on_file: &mut dyn FnMut(&RecordingFile, std::result::Result<(), RecordingError>),
) -> Result<Vec<TokenUsage>> {
    let mut sums = Sums::default();
    let mut query = TaskQuery::new().order(TaskOrder::Id).limit(PAGE);
    loop {
        let page = repo.list_tasks(&query)?;
        for task in &page.tasks {
            for file in present_files(repo, &task.id)? {
                if !is_recording(file.name.as_str()) {
                    continue;
                }
                let reader = repo.recording_reader(&task.id, file.number);
                let name = Path::new(file.name.as_str());
                let read = token_records(name, reader, file.length, &mut |record| {
                    sums.add(task, record);
                });
                on_file(&file, read);
            }
        }
        match page.next {
            Some(next) => query = query.after(next),
            None => return Ok(sums.rows()),
        }
    }
}

/// Whether a file may have tokens. Others beside a transcript are outputs of tools.
fn is_recording(name: &str) -> bool {
    [".jsonl", ".jsonl.zst", ".json"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    month: Option<(i32, u32)>,
    backend_type: Option<BackendType>,
    working_dir: Option<WorkingDir>,
    model: Option<String>,
}

#[derive(Default)]
struct Sums {
    sums: HashMap<Key, (u64, Tokens)>,
    counted: HashSet<u64>,
}

impl Sums {
    fn add(&mut self, task: &TaskSummary, record: TokenRecord) {
        if !self.counted.insert(record.answer) {
            return;
        }
        if self.counted.len() > MOST_ANSWERS {
            self.counted.clear();
        }
        let mut key = Key {
            month: record.timestamp.map(|time| (time.year(), time.month())),
            backend_type: task.backend_type.clone(),
            working_dir: task.working_dir.clone(),
            model: record.model,
        };
        if self.sums.len() >= MOST_ROWS && !self.sums.contains_key(&key) {
            (key.month, key.model) = (None, None);
        }
        let (answers, tokens) = self.sums.entry(key).or_default();
        *answers += 1;
        *tokens += record.tokens;
    }

    fn rows(self) -> Vec<TokenUsage> {
        let mut rows: Vec<_> = self.sums.into_iter().collect();
        rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let row = |(key, (answers, tokens)): (Key, _)| TokenUsage {
            month: key.month,
            backend_type: key.backend_type,
            working_dir: key.working_dir,
            model: key.model,
            answers,
            tokens,
        };
        rows.into_iter().map(row).collect()
    }
}
