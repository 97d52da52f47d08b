use std::io::{self, Read};

use turnkeep_model::{RecordingFile, RecordingName, RecordingNumber, TaskId};

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::base::target::Target;
use crate::store::{on_engine, write_op};

/// Files that are kept byte for byte, such as the agents' own recordings of their sessions.
impl Repo {
    /// Keeps `bytes`, which a file has from `offset` on, and returns the length of the kept file. A file that is not
    /// kept yet has length 0.
    ///
    /// Made for files that grow, and for callers that may not know how much is kept:
    /// - From the end of the kept file on, the bytes are added. Where they begin before it, the part that is kept is
    ///   compared and only the rest is added: a repeat adds nothing, and neither does an older copy of the file.
    /// - If the part differs, or is damaged, the file was rewritten. It gets a new [number](RecordingFile::number), and
    ///   is what was kept before `offset`, and then `bytes`. Of each name the last two numbers are kept.
    /// - Without bytes, an empty file is kept if there is none of that name.
    ///
    /// The bytes are compressed with a checksum, and on the disk like any write. A call costs about what it adds: a
    /// larger file, up to 16 MiB at a time, is best saved in steps of 1 MiB.
    ///
    /// # Errors
    /// - [`ErrorKind::TaskNotFound`] when the task does not exist.
    /// - [`ErrorKind::RecordingGap`] when `offset` is beyond the end of the kept file; it has the length.
    /// - [`ErrorKind::InvalidInput`] for more than [`RecordingFile::MAX_SAVED_BYTES`].
    /// - [`ErrorKind::Corrupt`] when a rewritten file goes on after bytes that are damaged. Save it from the beginning.
    ///
    /// ```
    /// use turnkeep_repo::{ErrorKind, NewTask, RecordingName, Repo, TaskId};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// let task = TaskId::new("fix-login")?;
    /// repo.save_task(&NewTask::new(task.clone(), "Fix the login"))?;
    /// let name = RecordingName::new("sessions/6f1d2c3b.jsonl")?;
    /// assert_eq!(repo.save_recording(&task, &name, 0, b"{}\n")?, 3);
    /// assert_eq!(repo.save_recording(&task, &name, 3, b"[]\n")?, 6);
    /// assert_eq!(repo.save_recording(&task, &name, 0, b"{}\n[]\n")?, 6, "a repeat");
    ///
    /// let gap = repo.save_recording(&task, &name, 7, b"x").unwrap_err();
    /// assert!(matches!(gap.kind(), ErrorKind::RecordingGap { length: 6 }));
    ///
    /// let number = repo.get_recordings(&task)?[0].number;
    /// assert_eq!(repo.read_recording(&task, number, 0)?, b"{}\n[]\n");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn save_recording(
        &self,
        task_id: &TaskId,
        name: &RecordingName,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64> {
        let target = Target::new(task_id, None);
        write_op!(self.store => ops::recording::SaveRecording::new(target, name, offset, bytes).compress())
    }

    /// Returns the kept files of the task in order of their numbers. Of several with one name the last is the present
    /// state of the file. Empty for a task without files or one that does not exist.
    ///
    /// # Errors
    /// Only the [errors of every call](crate::Repo#errors-of-every-call).
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, RecordingName, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// let name = RecordingName::new("a.jsonl")?;
    /// repo.save_recording(&task, &name, 0, b"before")?;
    /// repo.save_recording(&task, &name, 0, b"rewritten")?;
    /// let files = repo.get_recordings(&task)?;
    /// let lengths: Vec<u64> = files.iter().map(|file| file.length).collect();
    /// assert_eq!(lengths, [6, 9]);
    /// assert!(files.iter().all(|file| file.name == name));
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn get_recordings(&self, task_id: &TaskId) -> Result<Vec<RecordingFile>> {
        let call = Operation::on_task("get_recordings", task_id);
        on_engine!(self.store, engine, ops => engine.read(call, |conn| Ok(ops::recording::list(conn, task_id)?)))
    }

    /// Returns bytes of a kept file from `offset` on: at least one and at most 1 MiB before its end, none at its end and
    /// beyond. Their checksum is verified.
    ///
    /// The bytes of a number never change, more are added. So several calls read one state of the file.
    ///
    /// # Errors
    /// - [`ErrorKind::RecordingNotFound`] when the task has no file of this number, or has it no longer.
    /// - [`ErrorKind::Corrupt`] with the place in the file that can't be read.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, RecordingName, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// # repo.save_recording(&task, &RecordingName::new("a.jsonl")?, 0, &vec![b'x'; 3_000_000])?;
    /// for file in repo.get_recordings(&task)? {
    ///     let mut offset = 0;
    ///     while offset < file.length {
    ///         let bytes = repo.read_recording(&task, file.number, offset)?;
    ///         offset += bytes.len() as u64;
    ///     }
    ///     assert_eq!(offset, file.length);
    /// }
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn read_recording(
        &self,
        task_id: &TaskId,
        number: RecordingNumber,
        offset: u64,
    ) -> Result<Vec<u8>> {
        let call = Operation::on_task("read_recording", task_id);
        on_engine!(self.store, engine, ops => engine.read_snapshot(call, |conn| {
            ops::recording::read(conn, call, task_id, number, offset)
        }))
    }

    /// Returns a reader of a kept file from its beginning, which calls [`read_recording`](Self::read_recording) for each
    /// 1 MiB. Its errors have an [`Error`](crate::Error) inside.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, RecordingName, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// # repo.save_recording(&task, &RecordingName::new("a.jsonl")?, 0, b"{}\n")?;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("a.jsonl");
    /// let file = &repo.get_recordings(&task)?[0];
    /// let mut reader = repo.recording_reader(&task, file.number);
    /// std::io::copy(&mut reader, &mut std::fs::File::create(&path)?)?;
    /// assert_eq!(std::fs::read(&path)?, b"{}\n");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[must_use]
    pub fn recording_reader(&self, task_id: &TaskId, number: RecordingNumber) -> RecordingReader {
        RecordingReader {
            repo: self.clone(),
            task_id: task_id.clone(),
            number,
            offset: 0,
            bytes: io::Cursor::default(),
        }
    }

    /// Drops all kept files of the task and returns how many there were, each name counted once. The turns stay. A
    /// repeat returns 0.
    ///
    /// What imports have noted of the files of its sessions is forgotten in the same transaction, so the next import
    /// keeps the files that the agent still has, as a whole, unless it keeps only words.
    ///
    /// # Errors
    /// [`ErrorKind::TaskNotFound`] when the task does not exist.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, RecordingName, Repo, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_recording(&task, &RecordingName::new("a.jsonl")?, 0, b"{}\n")?;
    /// assert_eq!(repo.delete_recordings(&task)?, 1);
    /// assert!(repo.get_recordings(&task)?.is_empty());
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn delete_recordings(&self, task_id: &TaskId) -> Result<u64> {
        let target = Target::new(task_id, None);
        write_op!(self.store => ops::recording::DeleteRecordings { target })
    }
}

methods! {
    /// Files that are kept byte for byte.
    impl crate::AsyncRepo, crate::Transaction<'_> as Repo {
        writes:
        /// Keeps bytes that a file has from an offset on, and returns the length of the kept file.
        fn save_recording(
            &self, task_id: &TaskId, name: &RecordingName, offset: u64, bytes: &[u8]
        ) -> Result<u64>
            = ops::recording::SaveRecording::new(Target::new(task_id, None), name, offset, bytes);
        /// Drops all kept files of the task and returns how many there were.
        fn delete_recordings(&self, task_id: &TaskId) -> Result<u64>
            = ops::recording::DeleteRecordings { target: Target::new(task_id, None) };
        reads(conn, call):
        /// Returns the kept files of the task in order of their numbers.
        fn get_recordings(&self, task_id: &TaskId) -> Result<Vec<RecordingFile>>
            = on_task(task_id) => Ok(ops::recording::list(conn, task_id)?);
        /// Returns bytes of a kept file from an offset on, at most 1 MiB, none at its end.
        fn read_recording(&self, task_id: &TaskId, number: RecordingNumber, offset: u64) -> Result<Vec<u8>>
            = on_task(task_id) => ops::recording::read(conn, call, task_id, number, offset);
    }
}

/// Reads a kept file. Made by [`Repo::recording_reader`].
#[derive(Debug)]
pub struct RecordingReader {
    repo: Repo,
    task_id: TaskId,
    number: RecordingNumber,
    /// Of the byte after `bytes`.
    offset: u64,
    bytes: io::Cursor<Vec<u8>>,
}

impl Read for RecordingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.position() == self.bytes.get_ref().len() as u64 && !buffer.is_empty() {
            let bytes = (self.repo)
                .read_recording(&self.task_id, self.number, self.offset)
                .map_err(io::Error::other)?;
            self.offset += bytes.len() as u64;
            self.bytes = io::Cursor::new(bytes);
        }
        self.bytes.read(buffer)
    }
}
