//! The same operations with the least code on the C API: one connection, statements prepared once,
//! texts bound in place, rows copied as bytes.
//!
//! All ratios are relative to this side, so a change here changes them. The other benchmark has its
//! own raw side, which may become faster.

use std::hint::black_box;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use turnkeep_repo::{NewSession, Role, TaskId};

use crate::fixture::Data;
use crate::operation::Operation;
use crate::raw::{Db, Row, Statement, Value};

pub(crate) struct RawSide {
    begin: Statement,
    begin_immediate: Statement,
    commit: Statement,
    last_turn: Statement,
    last_seq: Statement,
    find_key: Statement,
    append_turn: Statement,
    append_whole_turn: Statement,
    get_range: Statement,
    get_session: Statement,
    upsert_session: Statement,
}

impl RawSide {
    /// Opens a database with Turnkeep's settings and `synchronous = NORMAL`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let db = Db::open(path)?;
        for pragma in [
            "busy_timeout = 5000",
            "foreign_keys = ON",
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "trusted_schema = OFF",
            "journal_size_limit = 67108864",
        ] {
            db.execute(&format!("PRAGMA {pragma}"))?;
        }
        ensure!(db.query_integer("PRAGMA foreign_keys")? == 1);
        // The schema of e463321 has neither column.
        let has_metadata =
            "SELECT count(*) FROM pragma_table_info('sessions') WHERE name = 'metadata'";
        let [of_turn, of_session] = match db.query_integer(has_metadata)? {
            0 => [", NULL", ", NULL, NULL"],
            _ => [", metadata", ", config_dir, metadata"],
        };
        Ok(Self {
            begin: db.prepare("BEGIN")?,
            begin_immediate: db.prepare("BEGIN IMMEDIATE")?,
            commit: db.prepare("COMMIT")?,
            last_turn: db.prepare(
                "SELECT seq, timestamp FROM conversation_history \
                 WHERE task_id = ?1 ORDER BY seq DESC LIMIT 1",
            )?,
            last_seq: db.prepare("SELECT max(seq) FROM conversation_history WHERE task_id = ?1")?,
            find_key: db.prepare(
                "SELECT seq, role, content FROM conversation_history \
                 WHERE task_id = ?1 AND message_key = ?2",
            )?,
            append_turn: db.prepare(
                "INSERT INTO conversation_history \
                 (task_id, seq, role, content, timestamp, message_key) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            append_whole_turn: db.prepare(
                "INSERT INTO conversation_history \
                 (task_id, seq, role, content, timestamp, message_key, checksum) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            get_range: db.prepare(&format!(
                "SELECT seq, role, content, timestamp, message_key{of_turn} FROM conversation_history \
                 WHERE task_id = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq",
            ))?,
            get_session: db.prepare(&format!(
                "SELECT task_id, backend_type, session_id, working_dir, created_at, updated_at{of_session} \
                 FROM sessions WHERE task_id = ?1",
            ))?,
            upsert_session: db.prepare(
                "INSERT INTO sessions \
                 (task_id, backend_type, session_id, working_dir, created_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (task_id) DO UPDATE SET \
                 backend_type = excluded.backend_type, session_id = excluded.session_id, \
                 working_dir = excluded.working_dir, updated_at = excluded.updated_at \
                 WHERE sessions.backend_type <> excluded.backend_type \
                 OR sessions.session_id <> excluded.session_id \
                 OR sessions.working_dir IS DISTINCT FROM excluded.working_dir",
            )?,
        })
    }

    /// Does the same as [`Operation::run`] for the counted operations.
    pub(crate) fn run(&mut self, operation: Operation, data: &Data, index: usize) -> Result<()> {
        let task = data.speaking_task(index);
        match operation {
            Operation::SaveMessage => {
                black_box(self.save_message(task, &data.content, None)?);
            }
            Operation::SaveMessageWithKey => {
                let key = format!("message-{index:08}");
                black_box(self.save_message(task, &data.content, Some(&key))?);
            }
            Operation::SaveSession => {
                black_box(self.save_session(data.task(index), data.binding(index))?);
            }
            Operation::GetSession => {
                black_box(self.get_session(data.task(index))?);
            }
            Operation::GetHistory => {
                black_box(self.get_range(task, 0, i64::MAX)?);
            }
            Operation::GetHistoryLast => {
                self.begin.execute(&[])?;
                let last = self.last_seq(task)?;
                black_box(self.get_range(task, last - 10, last)?);
                self.commit.execute(&[])?;
            }
            Operation::AppendBatch => self.append_batch(data, index)?,
            Operation::GetHistoryPage | Operation::CountHistory => {
                bail!("{} is not counted", operation.name())
            }
        }
        Ok(())
    }

    fn save_message(&mut self, task: &TaskId, content: &str, key: Option<&str>) -> Result<i64> {
        self.begin_immediate.execute(&[])?;
        let now = now()?;
        let (last_seq, time) = self.last_turn(task)?;
        // Here the store would write the last activity, if this was another minute.
        black_box(time);
        let seq = last_seq + 1;
        let task = Value::Text(task.as_str());
        if let Some(key) = key {
            let mut rows = self.find_key.bind(&[task, Value::Text(key)])?;
            ensure!(rows.step()?.is_none(), "the key is new");
        }
        self.append_turn.execute(&[
            task,
            Value::Integer(seq),
            Value::Text(Role::Assistant.as_str()),
            Value::Text(content),
            now,
            key.into(),
        ])?;
        self.commit.execute(&[])?;
        Ok(seq)
    }

    /// Appends a turn to each task of the batch, as the store writes it.
    fn append_batch(&mut self, data: &Data, index: usize) -> Result<()> {
        self.begin_immediate.execute(&[])?;
        for task in data.batch() {
            self.append_whole_turn.execute(&[
                Value::Text(task.as_str()),
                Value::Integer(i64::try_from(index)? + 1),
                Value::Text(Role::Assistant.as_str()),
                Value::Text(&data.content),
                now()?,
                Value::Null,
                Value::Integer(0x1234_5678),
            ])?;
        }
        self.commit.execute(&[])
    }

    fn save_session(&mut self, task: &TaskId, binding: &NewSession) -> Result<RawSession> {
        self.begin_immediate.execute(&[])?;
        let working_dir = binding.working_dir.as_ref().map(|dir| dir.as_str());
        // Triggers keep the revisions.
        self.upsert_session.execute(&[
            Value::Text(task.as_str()),
            Value::Text(binding.backend_type.as_str()),
            Value::Text(binding.session_id.as_str()),
            working_dir.into(),
            now()?,
        ])?;
        let session = self.get_session(task)?;
        self.commit.execute(&[])?;
        Ok(session)
    }

    fn get_session(&mut self, task: &TaskId) -> Result<RawSession> {
        let mut rows = self.get_session.bind(&[Value::Text(task.as_str())])?;
        let row = rows.step()?.context("the task has no session")?;
        let texts = [0, 1, 2, 3, 6, 7].map(|column| text(&row, column));
        Ok((texts, [4, 5].map(|column| row.integer(column))))
    }

    fn last_turn(&mut self, task: &TaskId) -> Result<(i64, i64)> {
        let mut rows = self.last_turn.bind(&[Value::Text(task.as_str())])?;
        let row = rows.step()?.context("the task has a turn")?;
        Ok((row.integer(0), row.integer(1)))
    }

    fn last_seq(&mut self, task: &TaskId) -> Result<i64> {
        let mut rows = self.last_seq.bind(&[Value::Text(task.as_str())])?;
        Ok(rows.step()?.context("an aggregate has a row")?.integer(0))
    }

    fn get_range(&mut self, task: &TaskId, after: i64, upto: i64) -> Result<Vec<RawTurn>> {
        let (after, upto) = (Value::Integer(after), Value::Integer(upto));
        let task = Value::Text(task.as_str());
        let mut rows = self.get_range.bind(&[task, after, upto])?;
        let mut history = Vec::new();
        while let Some(row) = rows.step()? {
            let texts = [1, 2, 4, 5].map(|column| text(&row, column));
            history.push((texts, [0, 3].map(|column| row.integer(column))));
        }
        Ok(history)
    }
}

/// The texts of a row as bytes, and its numbers.
type RawSession = ([Option<Vec<u8>>; 6], [i64; 2]);
type RawTurn = ([Option<Vec<u8>>; 4], [i64; 2]);

fn text(row: &Row<'_>, column: i32) -> Option<Vec<u8>> {
    row.text(column).map(<[u8]>::to_vec)
}

/// Returns the time in the database's form. Both sides read the clock once per write.
fn now() -> Result<Value<'static>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Value::Integer(i64::try_from(since.as_micros())?))
}
