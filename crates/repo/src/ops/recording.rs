//! Recordings: files that are kept byte for byte, in chunks that end at the multiples of 1 MiB.

use std::collections::HashMap;

use diesel::dsl::{exists, max, select, sql};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use turnkeep_model::{RecordingFile, RecordingName, RecordingNumber, TaskId, UtcMicros};
use turnkeep_schema::{recording_chunks as chunks, recordings};

use super::import::forget_files;
use super::task::lock_task;
use super::{Conn, all_written, now};
use crate::base::chunk::{CHUNK_BYTES, Chunk};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::commit::write::Write;

/// A last chunk that is shorter is replaced by one with the added bytes. Otherwise a file that grows in small steps
/// would write up to a whole chunk at each.
const SMALL_CHUNK_BYTES: i64 = 16 * 1024;

/// Keeps the bytes that a file has from an offset on; returns its length.
pub(crate) struct SaveRecording {
    target: Target,
    name: RecordingName,
    offset: u64,
    bytes: Vec<u8>,
    /// Chunks by their offset, which the transaction need not compress.
    compressed: HashMap<u64, Chunk>,
}

impl SaveRecording {
    pub(crate) fn new(target: Target, name: &RecordingName, offset: u64, bytes: &[u8]) -> Self {
        Self {
            target,
            name: name.clone(),
            offset,
            bytes: bytes.to_vec(),
            compressed: HashMap::new(),
        }
    }

    /// Compresses the whole chunks before the transaction, in which no other write would run meanwhile.
    pub(crate) fn compress(mut self) -> Self {
        let skipped = (CHUNK_BYTES - self.offset % CHUNK_BYTES) % CHUNK_BYTES;
        let whole = self.bytes.get(skipped as usize..).unwrap_or_default();
        let chunks = whole.chunks_exact(CHUNK_BYTES as usize).zip(0_u64..);
        let compressed = chunks.filter_map(|(bytes, index)| {
            let at = self.offset.saturating_add(skipped + index * CHUNK_BYTES);
            Some((at, Chunk::new(at, bytes).ok()?))
        });
        self.compressed = compressed.collect();
        self
    }
}

impl Write<Conn> for SaveRecording {
    type Output = u64;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("save_recording", &self.target.task_id)
    }

    fn check(&self) -> Result<()> {
        let (count, limit) = (self.bytes.len(), RecordingFile::MAX_SAVED_BYTES);
        if count <= limit {
            return Ok(());
        }
        let reason = format!("are {count}, at most {limit} are allowed in a call");
        Err(Error::invalid(self.call().name, "bytes", reason))
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<u64, QueryError> {
        let (call, task_id) = (self.call(), &self.target.task_id);
        lock_task(conn, call, &self.target)?;
        let last: Option<RecordingNumber> = recordings::table
            .filter(recordings::task_id.eq(task_id))
            .filter(recordings::name.eq(&self.name))
            .order(recordings::number.desc())
            .select(recordings::number)
            .first(conn)
            .optional()?;
        let length = match last {
            Some(number) => length(conn, task_id, number)?,
            None => 0,
        };
        if self.offset > length {
            return Err(ErrorKind::RecordingGap { length }.on(&call).into());
        }
        let now = now(clock, call.name)?;
        let count = (length - self.offset).min(self.bytes.len() as u64);
        let (kept, added) = self.bytes.split_at(count as usize);
        match last {
            None => {
                let number = self.insert(conn, now)?;
                self.append(conn, number, 0, added)?;
                Ok(added.len() as u64)
            }
            Some(number) if is_kept(conn, task_id, number, self.offset, kept)? => {
                if !added.is_empty() {
                    let recording = recordings::table.find((task_id, number));
                    let stored: UtcMicros = recording.select(recordings::updated_at).first(conn)?;
                    // The clock may have been set back.
                    let updated_at = recordings::updated_at.eq(now.max(stored));
                    let update = diesel::update(recording).set(updated_at);
                    all_written(update.execute(conn)?, 1, "recordings")?;
                    self.append(conn, number, length, added)?;
                }
                Ok(length + added.len() as u64)
            }
            Some(old) => {
                let number = self.insert(conn, now)?;
                self.rewrite(conn, old, number)?;
                let older = recordings::table
                    .filter(recordings::task_id.eq(task_id))
                    .filter(recordings::name.eq(&self.name))
                    .filter(recordings::number.lt(old));
                let numbers: Vec<i64> = older.select(recordings::number).load(conn)?;
                let deleted = diesel::delete(older).execute(conn)?;
                all_written(deleted, numbers.len(), "recordings")?;
                Ok(self.offset + self.bytes.len() as u64)
            }
        }
    }
}

impl SaveRecording {
    /// Inserts an empty recording with the next number of the task.
    fn insert(&self, conn: &mut Conn, now: UtcMicros) -> Result<RecordingNumber, QueryError> {
        let task_id = &self.target.task_id;
        let last: Option<i64> = recordings::table
            .filter(recordings::task_id.eq(task_id))
            .select(max(recordings::number))
            .first(conn)?;
        let number = RecordingNumber::new(last.unwrap_or(0) + 1)
            .map_err(|error| ErrorKind::from(error).on(&self.call()))?;
        let inserted = diesel::insert_into(recordings::table)
            .values((
                recordings::task_id.eq(task_id),
                recordings::number.eq(number),
                recordings::name.eq(&self.name),
                recordings::created_at.eq(now),
                recordings::updated_at.eq(now),
            ))
            .execute(conn)?;
        all_written(inserted, 1, "recordings")?;
        Ok(number)
    }

    /// Writes the bytes of the old recording before the offset, and then the new ones.
    fn rewrite(
        &self,
        conn: &mut Conn,
        old: RecordingNumber,
        number: RecordingNumber,
    ) -> Result<(), QueryError> {
        let (call, task_id) = (self.call(), &self.target.task_id);
        let mut at = 0;
        while at < self.offset {
            let chunk = chunk_at(conn, task_id, old, at)?;
            let chunk = chunk.ok_or_else(|| damaged(call, old, at))?;
            if chunk.end() > self.offset {
                let source = |source| damaged(call, old, at).with_source(source);
                let mut bytes = chunk.bytes().map_err(source)?;
                bytes.truncate((self.offset - at) as usize);
                bytes.extend(&self.bytes);
                return self.append(conn, number, at, &bytes);
            }
            insert_chunk(conn, task_id, number, &chunk)?;
            at = chunk.end();
        }
        self.append(conn, number, at, &self.bytes)
    }

    /// Writes bytes at the end of a recording.
    fn append(
        &self,
        conn: &mut Conn,
        number: RecordingNumber,
        mut at: u64,
        mut bytes: &[u8],
    ) -> Result<(), QueryError> {
        let task_id = &self.target.task_id;
        while !bytes.is_empty() {
            let start = at - at % CHUNK_BYTES;
            let count = bytes.len().min((start + CHUNK_BYTES - at) as usize);
            let (piece, rest) = bytes.split_at(count);
            let is_whole = at + count as u64 == start + CHUNK_BYTES;
            let replaced = match at > start {
                true => replaceable(conn, task_id, number, start, is_whole)?,
                false => Vec::new(),
            };
            // A damaged chunk stays as it is, and the file goes on behind it.
            let kept = replaced.iter().rev().map(Chunk::bytes);
            let kept = kept.collect::<Result<Vec<_>, _>>().unwrap_or_default();
            let chunk = match self.compressed.get(&at).filter(|_| is_whole) {
                Some(chunk) => chunk,
                None => {
                    let kept = kept.concat();
                    let offset = at - kept.len() as u64;
                    let chunk = Chunk::new(offset, &[&kept, piece].concat());
                    &chunk
                        .map_err(|error| ErrorKind::Database.on(&self.call()).with_source(error))?
                }
            };
            for old in &replaced[..kept.len()] {
                let old = chunks::table.find((task_id, number, old.offset));
                all_written(diesel::delete(old).execute(conn)?, 1, "recording_chunks")?;
            }
            insert_chunk(conn, task_id, number, chunk)?;
            at += count as u64;
            bytes = rest;
        }
        Ok(())
    }
}

/// Drops all files of a task, and what imports have noted of them; returns how many names they had.
pub(crate) struct DeleteRecordings {
    pub(crate) target: Target,
}

impl Write<Conn> for DeleteRecordings {
    type Output = u64;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("delete_recordings", &self.target.task_id)
    }

    fn may_take_long(&self) -> bool {
        true
    }

    fn run(&mut self, conn: &mut Conn, _: &Clock) -> Result<u64, QueryError> {
        lock_task(conn, self.call(), &self.target)?;
        let of_task = recordings::table.filter(recordings::task_id.eq(&self.target.task_id));
        let mut names: Vec<String> = of_task.select(recordings::name).load(conn)?;
        let deleted = diesel::delete(of_task).execute(conn)?;
        all_written(deleted, names.len(), "recordings")?;
        forget_files(conn, &self.target.task_id)?;
        names.sort_unstable();
        names.dedup();
        Ok(names.len() as u64)
    }
}

/// Returns the recordings of a task in order of their numbers.
pub(crate) fn list(conn: &mut Conn, task_id: &TaskId) -> QueryResult<Vec<RecordingFile>> {
    list_all(conn, std::slice::from_ref(task_id))
}

/// Returns the recordings of these tasks in order of their tasks and numbers.
pub(crate) fn list_all(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<Vec<RecordingFile>> {
    let of_chunks = |what| {
        sql::<BigInt>(&format!(
            "(SELECT CAST(coalesce({what}, 0) AS BIGINT) FROM recording_chunks AS chunk \
             WHERE chunk.task_id = recordings.task_id AND chunk.number = recordings.number)"
        ))
    };
    recordings::table
        .filter(recordings::task_id.eq_any(ids))
        .order((recordings::task_id, recordings::number))
        .select((
            recordings::task_id,
            recordings::number,
            recordings::name,
            of_chunks("max(\"offset\" + length)"),
            of_chunks("sum(octet_length(data))"),
            recordings::created_at,
            recordings::updated_at,
        ))
        .load(conn)
}

/// Returns the bytes of a recording from an offset to the end of its chunk, none at the end of the file.
pub(crate) fn read(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    number: RecordingNumber,
    offset: u64,
) -> Result<Vec<u8>, QueryError> {
    // Before the chunk: in a transaction on PostgreSQL bytes may be added between the two queries.
    let length = length(conn, task_id, number)?;
    if let Some(chunk) = chunk_at(conn, task_id, number, offset)? {
        let source =
            |source| damaged(call, number, chunk.offset.unsigned_abs()).with_source(source);
        let mut bytes = chunk.bytes().map_err(source)?;
        bytes.drain(..(offset - chunk.offset.unsigned_abs()) as usize);
        return Ok(bytes);
    }
    let recording = recordings::table.find((task_id, number));
    match select(exists(recording)).get_result(conn)? {
        true if offset < length => Err(damaged(call, number, offset).into()),
        true => Ok(Vec::new()),
        false => Err(ErrorKind::RecordingNotFound { number }.on(&call).into()),
    }
}

pub(crate) type Columns = (
    chunks::offset,
    chunks::length,
    chunks::checksum,
    chunks::data,
);
pub(crate) const COLUMNS: Columns = (
    chunks::offset,
    chunks::length,
    chunks::checksum,
    chunks::data,
);

/// Returns the chunk with the byte at an offset, if there is one.
fn chunk_at(
    conn: &mut Conn,
    task_id: &TaskId,
    number: RecordingNumber,
    offset: u64,
) -> QueryResult<Option<Chunk>> {
    let chunk: Option<Chunk> = chunks::table
        .filter(chunks::task_id.eq(task_id))
        .filter(chunks::number.eq(number))
        .filter(chunks::offset.le(i64::try_from(offset).unwrap_or(i64::MAX)))
        .order(chunks::offset.desc())
        .select(COLUMNS)
        .first(conn)
        .optional()?;
    Ok(chunk.filter(|chunk| offset < chunk.end()))
}

/// Returns the chunks that added bytes are put together with, the last one first: all after `start` if the bytes end
/// the mebibyte there, otherwise the last one if it is small.
fn replaceable(
    conn: &mut Conn,
    task_id: &TaskId,
    number: RecordingNumber,
    start: u64,
    is_whole: bool,
) -> QueryResult<Vec<Chunk>> {
    let mut last: Vec<Chunk> = chunks::table
        .filter(chunks::task_id.eq(task_id))
        .filter(chunks::number.eq(number))
        .filter(chunks::offset.ge(start as i64))
        .order(chunks::offset.desc())
        .limit(if is_whole { i64::MAX } else { 1 })
        .select(COLUMNS)
        .load(conn)?;
    last.retain(|chunk| is_whole || chunk.length < SMALL_CHUNK_BYTES);
    Ok(last)
}

/// Returns the bytes of the whole recording.
pub(crate) fn length(
    conn: &mut Conn,
    task_id: &TaskId,
    number: RecordingNumber,
) -> QueryResult<u64> {
    let end: Option<i64> = chunks::table
        .filter(chunks::task_id.eq(task_id))
        .filter(chunks::number.eq(number))
        .order(chunks::offset.desc())
        .select(chunks::offset + chunks::length)
        .first(conn)
        .optional()?;
    Ok(end.unwrap_or(0).unsigned_abs())
}

/// Whether the recording has these bytes at an offset. Damaged bytes are not the same.
fn is_kept(
    conn: &mut Conn,
    task_id: &TaskId,
    number: RecordingNumber,
    mut offset: u64,
    mut bytes: &[u8],
) -> QueryResult<bool> {
    while !bytes.is_empty() {
        let chunk = chunk_at(conn, task_id, number, offset)?;
        let kept = chunk.and_then(|chunk| {
            let mut kept = chunk.bytes().ok()?;
            kept.drain(..(offset - chunk.offset.unsigned_abs()) as usize);
            kept.truncate(bytes.len());
            Some(kept)
        });
        let Some(rest) = kept.as_ref().and_then(|kept| bytes.strip_prefix(&kept[..])) else {
            return Ok(false);
        };
        offset += (bytes.len() - rest.len()) as u64;
        bytes = rest;
    }
    Ok(true)
}

pub(crate) fn insert_chunk(
    conn: &mut Conn,
    task_id: &TaskId,
    number: RecordingNumber,
    chunk: &Chunk,
) -> Result<(), QueryError> {
    let inserted = diesel::insert_into(chunks::table)
        .values((
            chunks::task_id.eq(task_id),
            chunks::number.eq(number),
            chunks::offset.eq(chunk.offset),
            chunks::length.eq(chunk.length),
            chunks::checksum.eq(chunk.checksum),
            chunks::data.eq(&chunk.data),
        ))
        .execute(conn)?;
    all_written(inserted, 1, "recording_chunks")
}

fn damaged(call: Operation<'_>, number: RecordingNumber, offset: u64) -> Error {
    ErrorKind::Corrupt
        .on(&call)
        .in_part(format_args!("byte {offset} of recording {number}"))
}
