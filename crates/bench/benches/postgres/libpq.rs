//! The least code that reads a history with libpq. All unsafe code of this comparison is here.
#![expect(unsafe_code, reason = "calling the C API is the point")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use anyhow::{Context as _, Result, bail, ensure};
use pq_sys as ffi;

/// One connection, with its statement prepared.
pub(crate) struct Libpq(NonNull<ffi::PGconn>);

/// The result of a query.
struct Rows(*mut ffi::PGresult);

impl Libpq {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let url = CString::new(url)?;
        // SAFETY: The text ends in a NUL and lives through the call.
        let conn = unsafe { ffi::PQconnectdb(url.as_ptr()) };
        let conn = Self(NonNull::new(conn).context("no memory for a connection")?);
        // SAFETY: The connection is not finished before it is dropped.
        let status = unsafe { ffi::PQstatus(conn.0.as_ptr()) };
        ensure!(
            status == ffi::ConnStatusType::CONNECTION_OK,
            "no connection"
        );
        // SAFETY: The same, both texts end in a NUL, and no types are given.
        let prepared = Rows(unsafe {
            ffi::PQprepare(
                conn.0.as_ptr(),
                c"history".as_ptr(),
                c"SELECT seq, role, content, timestamp, message_key FROM conversation_history \
                  WHERE task_id = $1 ORDER BY seq"
                    .as_ptr(),
                1,
                ptr::null(),
            )
        });
        prepared.check(ffi::ExecStatusType::PGRES_COMMAND_OK)?;
        Ok(conn)
    }

    /// Reads a history in the binary format and returns the number of turns.
    pub(crate) fn history(&mut self, task_id: &str) -> Result<usize> {
        let value = task_id.as_ptr().cast::<c_char>();
        let length = c_int::try_from(task_id.len())?;
        let format = BINARY;
        // SAFETY: The connection is open; the one value lives through the call and has the length
        // and the format (1, binary) given.
        let rows = Rows(unsafe {
            ffi::PQexecPrepared(
                self.0.as_ptr(),
                c"history".as_ptr(),
                1,
                &raw const value,
                &raw const length,
                &raw const format,
                format,
            )
        });
        rows.check(ffi::ExecStatusType::PGRES_TUPLES_OK)?;
        // SAFETY: The result is one of rows and lives as long as `rows`.
        let count = unsafe { ffi::PQntuples(rows.0) };
        let mut turns = Vec::with_capacity(usize::try_from(count)?);
        for row in 0..count {
            let number = |column| -> Result<i64> {
                Ok(i64::from_be_bytes(rows.bytes(row, column).try_into()?))
            };
            let text = |column| String::from_utf8(rows.bytes(row, column).to_vec());
            turns.push((number(0)?, text(1)?, text(2)?, number(3)?, text(4)?));
        }
        Ok(std::hint::black_box(turns).len())
    }
}

const BINARY: c_int = 1;

impl Drop for Libpq {
    fn drop(&mut self) {
        // SAFETY: Nothing uses the connection any more.
        unsafe { ffi::PQfinish(self.0.as_ptr()) };
    }
}

impl Rows {
    fn check(&self, expected: ffi::ExecStatusType) -> Result<()> {
        // SAFETY: Both take any result, a null pointer too, and the text is static or the result's.
        let (status, text) = unsafe {
            let text = ffi::PQresultErrorMessage(self.0);
            (ffi::PQresultStatus(self.0), CStr::from_ptr(text))
        };
        if status != expected {
            bail!("libpq: {}", text.to_string_lossy());
        }
        Ok(())
    }

    /// Returns a value, empty for NULL.
    fn bytes(&self, row: c_int, column: c_int) -> &[u8] {
        // SAFETY: The callers ask for rows and columns there are; the value lives as long as the
        // result and has that length.
        unsafe {
            let value = ffi::PQgetvalue(self.0, row, column).cast::<u8>();
            let length = ffi::PQgetlength(self.0, row, column);
            std::slice::from_raw_parts(value, usize::try_from(length).unwrap_or(0))
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // SAFETY: Nothing borrows from the result any more.
        unsafe { ffi::PQclear(self.0) };
    }
}
