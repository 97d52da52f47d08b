//! Recordings verbatim: for copies, exports and imports.

use diesel::prelude::*;
use turnkeep_model::{RecordingFile, RecordingNumber, TaskId, UtcMicros};
use turnkeep_schema::{recording_chunks as chunks, recordings};

use super::recording::{COLUMNS, insert_chunk, length};
use super::task::lock_task;
use super::{Conn, all_written};
use crate::base::chunk::Chunk;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::base::task_record::RecordingChange;

/// The most chunks in a page, at most 4 MiB.
const MAX_PAGE_CHUNKS: i64 = 4;

/// Returns the first chunks of a recording from an offset on, in order.
pub(crate) fn chunks(conn: &mut Conn, file: &RecordingFile, from: u64) -> QueryResult<Vec<Chunk>> {
    chunks::table
        .filter(chunks::task_id.eq(&file.task_id))
        .filter(chunks::number.eq(file.number))
        .filter(chunks::offset.ge(from as i64))
        .order(chunks::offset)
        .limit(MAX_PAGE_CHUNKS)
        .select(COLUMNS)
        .load(conn)
}

/// Writes to recordings, and returns the number of recordings and chunks that were inserted or changed. Returns `None`
/// if one is no longer in the state that the caller read; the caller must then roll back.
pub(crate) fn put(
    conn: &mut Conn,
    call: Operation<'_>,
    changes: &[RecordingChange],
) -> Result<Option<[u64; 2]>, QueryError> {
    let mut written = [0, 0];
    for change in changes {
        let RecordingFile {
            task_id, number, ..
        } = &change.file;
        let target = Target::new(task_id, None);
        lock_task(conn, call, &target)?;
        let stored: Option<UtcMicros> = recordings::table
            .find((task_id, number))
            .select(recordings::updated_at)
            .first(conn)
            .optional()?;
        let stored_length = match stored {
            Some(_) => Some(length(conn, task_id, *number)?),
            None => None,
        };
        if stored_length != change.length {
            return Ok(None);
        }
        let updated_at = UtcMicros::from(change.file.updated_at);
        if stored != Some(updated_at) {
            put_row(conn, &change.file, stored.is_some())?;
            written[0] += 1;
        }
        let replaced: Vec<i64> = chunks::table
            .filter(chunks::task_id.eq(task_id))
            .filter(chunks::number.eq(number))
            .filter(chunks::offset.ge(change.from as i64))
            .order(chunks::offset.desc())
            .select(chunks::offset)
            .load(conn)?;
        // From the end: the database lets no gap be.
        for offset in replaced {
            let chunk = chunks::table.find((task_id, number, offset));
            all_written(diesel::delete(chunk).execute(conn)?, 1, "recording_chunks")?;
        }
        for chunk in &change.chunks {
            insert_chunk(conn, task_id, *number, chunk)?;
        }
        written[1] += change.chunks.len() as u64;
    }
    Ok(Some(written))
}

fn put_row(conn: &mut Conn, file: &RecordingFile, is_stored: bool) -> Result<(), QueryError> {
    let updated_at = recordings::updated_at.eq(UtcMicros::from(file.updated_at));
    let recording = recordings::table.find((&file.task_id, file.number));
    let written = match is_stored {
        true => diesel::update(recording).set(updated_at).execute(conn)?,
        false => diesel::insert_into(recordings::table)
            .values((
                recordings::task_id.eq(&file.task_id),
                recordings::number.eq(file.number),
                recordings::name.eq(&file.name),
                recordings::created_at.eq(UtcMicros::from(file.created_at)),
                updated_at,
            ))
            .execute(conn)?,
    };
    all_written(written, 1, "recordings")
}

/// Drops recordings that the source has dropped.
pub(crate) fn drop_all(
    conn: &mut Conn,
    call: Operation<'_>,
    files: &[(TaskId, RecordingNumber)],
) -> Result<(), QueryError> {
    for (task_id, number) in files {
        lock_task(conn, call, &Target::new(task_id, None))?;
        diesel::delete(recordings::table.find((task_id, number))).execute(conn)?;
    }
    Ok(())
}
