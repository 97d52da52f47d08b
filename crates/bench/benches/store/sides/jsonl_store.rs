//! Lines of JSON in a file per task, synced one by one: what the agents write by themselves. No
//! second process can append, nothing refuses a damaged line, a session has no place in it.
//!
//! Tasks that append at the same time share no file, so that this side has nothing to wait for but
//! the disk, where the others share one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use turnkeep_repo::{NewSession, Role, TaskId};

use crate::plain::{PlainSession, PlainTurn};
use crate::store::{Store, now};

/// The files of all tasks, open.
#[derive(Clone)]
pub(crate) struct JsonlStore(Arc<HashMap<String, Mutex<Log>>>);

/// The file of a task, and how many lines it has.
struct Log {
    file: File,
    lines: i64,
}

/// What a line holds.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    role: &'a str,
    content: &'a str,
    timestamp: i64,
}

impl JsonlStore {
    /// Makes a folder with a file for each task, so many lines in each.
    pub(crate) fn create(folder: &Path, tasks: &[TaskId], lines: usize, text: &str) -> Result<()> {
        fs::create_dir(folder)?;
        for task in tasks {
            fs::write(folder.join(task.as_str()), line(text)?.repeat(lines))?;
        }
        Ok(())
    }

    /// Opens all files of a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let mut logs = HashMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().context("a file has no name")?;
            let lines = i64::try_from(fs::read_to_string(&path)?.lines().count())?;
            let file = File::options().append(true).read(true).open(&path)?;
            logs.insert(
                name.to_string_lossy().into_owned(),
                Mutex::new(Log { file, lines }),
            );
        }
        Ok(Self(Arc::new(logs)))
    }

    fn log(&self, task: &TaskId) -> Result<&Mutex<Log>> {
        self.0.get(task.as_str()).context("there is no such task")
    }
}

impl Store for JsonlStore {
    type Session = PlainSession;
    type Turn = PlainTurn;

    fn save_message(&mut self, task: &TaskId, content: &str) -> Result<i64> {
        let mut log = self
            .log(task)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        log.file.write_all(line(content)?.as_bytes())?;
        log.file.sync_data()?;
        log.lines += 1;
        Ok(log.lines)
    }

    fn save_session(&mut self, _: &TaskId, _: &NewSession) -> Result<PlainSession> {
        bail!("sessions are not kept");
    }

    fn get_session(&mut self, _: &TaskId) -> Result<PlainSession> {
        bail!("sessions are not kept");
    }

    fn get_history(&mut self, task: &TaskId) -> Result<Vec<PlainTurn>> {
        let log = self
            .log(task)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        std::io::Seek::rewind(&mut &log.file)?;
        std::io::Read::read_to_string(&mut &log.file, &mut text)?;
        let turns = (1..).zip(text.lines()).map(|(seq, text)| {
            let line: Line<'_> = serde_json::from_str(text)?;
            Ok(PlainTurn {
                task_id: task.as_str().into(),
                seq,
                role: line.role.into(),
                content: line.content.into(),
                timestamp: line.timestamp,
                message_key: None,
            })
        });
        turns.collect()
    }
}

fn line(content: &str) -> Result<String> {
    let line = Line {
        role: Role::Assistant.as_str(),
        content,
        timestamp: now()?,
    };
    Ok(serde_json::to_string(&line)? + "\n")
}
