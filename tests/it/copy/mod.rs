//! Copying a store into another. The rules of every engine run for each pair of engines.

mod conflicts;
mod damaged;
mod exact;
mod grown;
mod killed;
mod meanwhile;
mod recordings;
pub(crate) mod scene;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use turnkeep_admin::{CopiedTable, copy};
use turnkeep_repo::{
    ConversationTurn, HistoryPage, RecordingFile, Repo, SessionRevision, Task, TaskId, TaskOrder,
    TaskQuery, TaskSummary,
};

use crate::sql::Sql as _;
use crate::support::Harness as _;

/// A file in which a store is opened as a `Repo`.
type TempStore = crate::sqlite::temp_store::TempStore<Repo>;

/// Runs functions that take two stores, with each pair of engines that is there.
macro_rules! from_each_to_each {
    ($($test:ident),* $(,)?) => {
        mod sqlite_to_sqlite {
            $(
                #[test]
                fn $test() -> anyhow::Result<()> {
                    super::$test(&$crate::copy::Place::file()?, &$crate::copy::Place::file()?)
                }
            )*
        }

        #[cfg(feature = "postgres")]
        mod sqlite_to_postgres {
            $(
                #[test]
                fn $test() -> anyhow::Result<()> {
                    super::$test(&$crate::copy::Place::file()?, &$crate::copy::Place::server()?)
                }
            )*
        }

        #[cfg(feature = "postgres")]
        mod postgres_to_sqlite {
            $(
                #[test]
                fn $test() -> anyhow::Result<()> {
                    super::$test(&$crate::copy::Place::server()?, &$crate::copy::Place::file()?)
                }
            )*
        }
    };
}
pub(crate) use from_each_to_each;

/// Where a store is, of whichever engine.
pub(crate) enum Place {
    File(TempStore),
    #[cfg(feature = "postgres")]
    Server(Box<turnkeep_test_postgres::Database>),
}

impl Place {
    pub(crate) fn file() -> anyhow::Result<Self> {
        Ok(Self::File(TempStore::new()?))
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn server() -> anyhow::Result<Self> {
        let server = turnkeep_test_postgres::Server::shared()?;
        Ok(Self::Server(Box::new(server.database()?)))
    }

    /// A new one of the same engine.
    pub(crate) fn another(&self) -> anyhow::Result<Self> {
        match self {
            Self::File(_) => Self::file(),
            #[cfg(feature = "postgres")]
            Self::Server(_) => Self::server(),
        }
    }

    fn address(&self) -> PathBuf {
        match self {
            Self::File(store) => store.path(),
            #[cfg(feature = "postgres")]
            Self::Server(database) => database.url().into(),
        }
    }

    pub(crate) fn open(&self) -> anyhow::Result<Repo> {
        Ok(Repo::open(self.address())?)
    }

    /// Runs statements as another program.
    pub(crate) fn execute(&self, sql: &str) -> anyhow::Result<()> {
        match self {
            Self::File(store) => store.execute(sql),
            #[cfg(feature = "postgres")]
            Self::Server(database) => database.psql(sql).map(drop),
        }
    }

    /// Has rows of a table left out without an error, as another program's trigger can.
    pub(crate) fn leave_out(&self, event: &str, table: &str) -> anyhow::Result<()> {
        self.execute(&match self {
            Self::File(_) => crate::sql::left_out_of_file(event, table),
            #[cfg(feature = "postgres")]
            Self::Server(_) => crate::sql::left_out_on_server(event, table),
        })
    }

    /// Every column of every row, the same for every engine.
    pub(crate) fn rows(&self) -> anyhow::Result<Vec<String>> {
        let mut rows = Vec::new();
        for (table, columns, key) in TABLES {
            let from = if table == "session_revisions" {
                ENDED
            } else {
                table
            };
            // A row is a line.
            let columns: Vec<String> = columns
                .split_whitespace()
                .map(|column| {
                    format!(
                        "coalesce('<' || replace(CAST({column} AS TEXT), '\n', '¶') || '>', '-')"
                    )
                })
                .collect();
            let columns = columns.join(" || ");
            rows.extend(self.lines(&format!(
                "SELECT '{table}: ' || {columns} AS line FROM {from} ORDER BY {key}"
            ))?);
        }
        Ok(rows)
    }

    pub(crate) fn lines(&self, query: &str) -> anyhow::Result<Vec<String>> {
        match self {
            Self::File(store) => {
                let lines: Vec<Line> = sql_query(query).load(&mut store.raw()?)?;
                Ok(lines.into_iter().map(|line| line.line).collect())
            }
            #[cfg(feature = "postgres")]
            Self::Server(database) => {
                let lines = database.psql(query)?;
                Ok(lines.split_terminator('\n').map(str::to_owned).collect())
            }
        }
    }
}

const TABLES: [(&str, &str, &str); 9] = [
    (
        "tasks",
        "id name agent_role prompt writes_files status failure_mode not_before metadata result error \
         worker fence lease_ends_at lease_length created_at updated_at status_changed_at",
        "id",
    ),
    (
        "task_dependencies",
        "task_id depends_on",
        "task_id, depends_on",
    ),
    (
        "sessions",
        "task_id backend_type session_id working_dir config_dir metadata created_at updated_at",
        "task_id",
    ),
    (
        "session_revisions",
        "task_id revision backend_type session_id working_dir config_dir metadata first_seq saved_at \
         retired_at retired_reason",
        "task_id, revision",
    ),
    (
        "conversation_history",
        "task_id seq role \"timestamp\" message_key content metadata",
        "task_id, seq",
    ),
    (
        "history_retractions",
        "task_id number after_seq through_seq hidden_at",
        "task_id, number",
    ),
    (
        "recordings",
        "task_id number name created_at updated_at",
        "task_id, number",
    ),
    (
        "recording_chunks",
        "task_id number \"offset\" length checksum octet_length(data)",
        "task_id, number, \"offset\"",
    ),
    (
        "removed_sessions",
        "backend_type session_id task_id removed_at",
        "backend_type, session_id",
    ),
];

/// A replaced binding may have its end written, or only that of the next one.
const ENDED: &str = "(SELECT it.task_id, it.revision, it.backend_type, it.session_id, it.working_dir, it.config_dir, \
     it.metadata, it.first_seq, it.saved_at, coalesce(it.retired_at, next.saved_at) AS retired_at, \
     coalesce(it.retired_reason, CASE WHEN next.revision IS NOT NULL THEN 'replaced' END) AS retired_reason \
     FROM session_revisions AS it LEFT JOIN session_revisions AS next \
         ON next.task_id = it.task_id AND next.revision = it.revision + 1) AS ended";

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// All that a store has, as its readers get it.
type Contents = BTreeMap<
    TaskId,
    (
        Task,
        Vec<SessionRevision>,
        String,
        Vec<ConversationTurn>,
        Option<TaskSummary>,
        Vec<(RecordingFile, Vec<u8>)>,
    ),
>;

fn read_all(repo: &Repo) -> anyhow::Result<Contents> {
    let mut summaries = BTreeMap::new();
    let mut query = TaskQuery::new().order(TaskOrder::Id);
    loop {
        let page = repo.list_tasks(&query)?;
        summaries.extend(page.tasks.into_iter().map(|task| (task.id.clone(), task)));
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    let mut all = BTreeMap::new();
    for task in repo.get_tasks()? {
        let id = task.id.clone();
        let revisions = repo.list_session_revisions(&id)?;
        let session = format!("{:?}", repo.find_session(&id)?);
        let whole = HistoryPage::new(u32::MAX).with_hidden();
        let history = repo.get_history_page(&id, whole)?;
        let summary = summaries.remove(&id);
        let mut files = Vec::new();
        for file in repo.get_recordings(&id)? {
            let mut bytes = Vec::new();
            repo.recording_reader(&id, file.number)
                .read_to_end(&mut bytes)?;
            files.push((file, bytes));
        }
        all.insert(id, (task, revisions, session, history, summary, files));
    }
    Ok(all)
}

/// Copies, and holds the result and the report against both stores.
#[track_caller]
fn copy_all(from: &Repo, to: &Repo) -> anyhow::Result<Vec<CopiedTable>> {
    let report = copy(from, to, |_| ())?;
    let (source, destination) = (read_all(from)?, read_all(to)?);
    for (id, task) in &source {
        assert_eq!(Some(task), destination.get(id));
    }
    let turns = |all: &Contents| all.values().map(|task| task.3.len() as u64).sum::<u64>();
    let rows = |name| {
        let table = report.iter().find(|table| table.name == name);
        let table = table.expect("there is such a table");
        (table.rows, table.left_alone)
    };
    let more = destination.len() - source.len();
    assert_eq!(rows("tasks"), (source.len() as u64, more as u64));
    let more = turns(&destination) - turns(&source);
    assert_eq!(rows("conversation_history"), (turns(&source), more));
    Ok(report)
}

/// How many rows were written to each table.
fn written(report: &[CopiedTable]) -> Vec<u64> {
    report.iter().map(|table| table.written).collect()
}

fn id(text: &str) -> TaskId {
    TaskId::new(text).expect("a valid id")
}
