//! Lines of JSON in a file per task, each synced, as agents write them. A second process cannot
//! append, damaged lines are not detected, and there are no sessions.
//!
//! Concurrent tasks have separate files, so this side waits only for the disk. The other sides
//! share one file.

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

/// The open files of all tasks.
#[derive(Clone)]
pub(crate) struct JsonlStore(Arc<HashMap<String, Mutex<Log>>>);

/// The file of a task and its number of lines.
struct Log {
    file: File,
    lines: i64,
}

/// The contents of a line.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    role: &'a str,
    content: &'a str,
    timestamp: i64,
}

impl JsonlStore {
    /// Makes a folder with a file of `lines` lines for each task.
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
