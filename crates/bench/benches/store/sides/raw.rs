//! A thin safe layer over SQLite's C API. All unsafe code of the comparison is here.
//!
//! It does the same as a careful C program: statements are prepared once, texts are bound without a
//! copy and read in place.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, ensure};
use libsqlite3_sys as ffi;

/// Returns the version of SQLite, which all sides share.
pub(crate) fn version() -> String {
    // SAFETY: The function takes nothing and returns a static text that ends in a NUL.
    let version = unsafe { CStr::from_ptr(ffi::sqlite3_libversion()) };
    version.to_string_lossy().into_owned()
}

/// A connection. Statements keep it open.
pub(crate) struct Db(Rc<Handle>);

impl Db {
    /// Opens a database that exists, with the flags that Diesel uses.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = CString::new(path.to_str().context("the path is not UTF-8")?)?;
        let mut db = ptr::null_mut();
        // SAFETY: `name` ends in a NUL and lives through the call, `db` can be written to, and
        // a null pointer asks for the default file system layer.
        let code = unsafe {
            ffi::sqlite3_open_v2(
                name.as_ptr(),
                &raw mut db,
                ffi::SQLITE_OPEN_READWRITE,
                ptr::null(),
            )
        };
        let handle = Handle(NonNull::new(db).context("no memory for a connection")?);
        handle
            .check(code)
            .with_context(|| format!("open {}", path.display()))?;
        Ok(Self(Rc::new(handle)))
    }

    /// Prepares a statement for repeated use.
    pub(crate) fn prepare(&self, sql: &str) -> Result<Statement> {
        let mut statement = ptr::null_mut();
        // SAFETY: The connection is open, the text lives through the call and has the length
        // given, `statement` can be written to, and the end of the statement is not asked for.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                self.0.0.as_ptr(),
                sql.as_ptr().cast(),
                c_int::try_from(sql.len())?,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &raw mut statement,
                ptr::null_mut(),
            )
        };
        self.0.check(code).with_context(|| sql.to_owned())?;
        let statement = NonNull::new(statement).context("the SQL has no statement")?;
        Ok(Statement {
            db: Rc::clone(&self.0),
            statement,
        })
    }

    /// Prepares a statement without parameters and runs it once, dropping any rows.
    pub(crate) fn execute(&self, sql: &str) -> Result<()> {
        self.prepare(sql)?.execute(&[])
    }

    /// Prepares a query without parameters, runs it once and returns the first number.
    pub(crate) fn query_integer(&self, sql: &str) -> Result<i64> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.bind(&[])?;
        let row = rows.step()?.context("the query has no row")?;
        Ok(row.integer(0))
    }

    /// Prepares a query without parameters, runs it once and returns the first text of each row.
    pub(crate) fn query_texts(&self, sql: &str) -> Result<Vec<String>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.bind(&[])?;
        let mut texts = Vec::new();
        while let Some(row) = rows.step()? {
            let text = row.text(0).context("NULL is no text")?;
            texts.push(String::from_utf8(text.to_vec())?);
        }
        Ok(texts)
    }
}

/// A connection, closed with the last reference.
struct Handle(NonNull<ffi::sqlite3>);

impl Handle {
    fn check(&self, code: c_int) -> Result<()> {
        if code == ffi::SQLITE_OK {
            return Ok(());
        }
        Err(self.error(code))
    }

    #[cold]
    fn error(&self, code: c_int) -> anyhow::Error {
        // SAFETY: The connection is open; the text it returns ends in a NUL and is copied
        // before any other call.
        let message = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.0.as_ptr())) };
        anyhow!("{} (SQLite's code {code})", message.to_string_lossy())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: The connection is open and used no more: each statement holds the handle
        // until it has been finalized.
        unsafe { ffi::sqlite3_close(self.0.as_ptr()) };
    }
}

/// A value to bind.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Integer(i64),
    Text(&'a str),
    Null,
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

/// A prepared statement that is not running.
pub(crate) struct Statement {
    db: Rc<Handle>,
    statement: NonNull<ffi::sqlite3_stmt>,
}

impl Statement {
    /// Binds a value to each parameter and makes the statement ready for its first row.
    pub(crate) fn bind<'a>(&'a mut self, values: &[Value<'a>]) -> Result<Rows<'a>> {
        // SAFETY: The statement is not finalized.
        let parameters = unsafe { ffi::sqlite3_bind_parameter_count(self.statement.as_ptr()) };
        // Replaces every binding of an earlier run, whose texts may be gone.
        ensure!(
            usize::try_from(parameters)? == values.len(),
            "the statement has {parameters} parameters, not {}",
            values.len()
        );
        for (index, value) in (1..).zip(values) {
            self.bind_one(index, *value)?;
        }
        Ok(Rows { statement: self })
    }

    /// Runs the statement to its end.
    pub(crate) fn execute(&mut self, values: &[Value<'_>]) -> Result<()> {
        let mut rows = self.bind(values)?;
        while rows.step()?.is_some() {}
        Ok(())
    }

    fn bind_one(&mut self, index: c_int, value: Value<'_>) -> Result<()> {
        let statement = self.statement.as_ptr();
        let code = match value {
            // SAFETY: The statement is not finalized; a wrong index is an error code.
            Value::Integer(number) => unsafe { ffi::sqlite3_bind_int64(statement, index, number) },
            // SAFETY: As above, and the text has the length given. SQLite keeps the pointer.
            // It reads there only in `step`, thus only through the `Rows` that `bind` makes,
            // which the text outlives; before there are other `Rows`, it is replaced.
            Value::Text(text) => unsafe {
                ffi::sqlite3_bind_text(
                    statement,
                    index,
                    text.as_ptr().cast::<c_char>(),
                    c_int::try_from(text.len())?,
                    ffi::SQLITE_STATIC(),
                )
            },
            // SAFETY: The statement is not finalized; a wrong index is an error code.
            Value::Null => unsafe { ffi::sqlite3_bind_null(statement, index) },
        };
        self.db.check(code)
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: The statement is finalized once, here, while its connection is still open.
        unsafe { ffi::sqlite3_finalize(self.statement.as_ptr()) };
    }
}

/// A running statement. Reset when dropped.
pub(crate) struct Rows<'a> {
    statement: &'a mut Statement,
}

impl Rows<'_> {
    /// Steps to the next row, if there is one.
    pub(crate) fn step(&mut self) -> Result<Option<Row<'_>>> {
        // SAFETY: The statement is not finalized, and what is bound to it outlives `self`.
        match unsafe { ffi::sqlite3_step(self.statement.statement.as_ptr()) } {
            ffi::SQLITE_ROW => Ok(Some(Row::of(self.statement))),
            ffi::SQLITE_DONE => Ok(None),
            code => Err(self.statement.db.error(code)),
        }
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        // SAFETY: The statement is not finalized. The code only repeats the code of `step`.
        unsafe { ffi::sqlite3_reset(self.statement.statement.as_ptr()) };
    }
}

/// The current row of a statement. Borrows it, so that it cannot step on.
pub(crate) struct Row<'a> {
    statement: &'a Statement,
    columns: c_int,
}

impl<'a> Row<'a> {
    fn of(statement: &'a Statement) -> Self {
        // SAFETY: The statement is not finalized.
        let columns = unsafe { ffi::sqlite3_data_count(statement.statement.as_ptr()) };
        Self { statement, columns }
    }

    /// Returns a column as a number.
    pub(crate) fn integer(&self, column: c_int) -> i64 {
        let statement = self.checked(column);
        // SAFETY: The statement stands on a row that has this column.
        unsafe { ffi::sqlite3_column_int64(statement, column) }
    }

    /// Returns the bytes of a text, `None` for NULL.
    pub(crate) fn text(&self, column: c_int) -> Option<&[u8]> {
        let statement = self.checked(column);
        // SAFETY: The statement stands on a row that has this column. The length is asked for
        // after the text, as it must be. The bytes stay where they are until the statement
        // steps, is reset or finalized, which the borrow prevents, or the column is converted
        // to another type, which no code here does.
        unsafe {
            let text = ffi::sqlite3_column_text(statement, column);
            let length = ffi::sqlite3_column_bytes(statement, column);
            if text.is_null() {
                return None;
            }
            Some(std::slice::from_raw_parts(
                text,
                usize::try_from(length).ok()?,
            ))
        }
    }

    /// Returns the statement; panics if the column does not exist.
    fn checked(&self, column: c_int) -> *mut ffi::sqlite3_stmt {
        assert!((0..self.columns).contains(&column), "no such column");
        self.statement.statement.as_ptr()
    }
}
