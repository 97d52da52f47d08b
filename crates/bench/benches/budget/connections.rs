//! Watches the connections that the library opens.
//!
//! SQLite calls an extension for each new connection of the process. This one remembers the
//! connection until it is closed and sets an authorizer, which SQLite calls only while it compiles
//! a statement. So a statement that is prepared for a single call is noticed as well. A statement
//! that is kept but compiled again at each call, as with a bound LIMIT, shows in its own counter.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use libsqlite3_sys as ffi;

static OPEN: Mutex<Vec<Connection>> = Mutex::new(Vec::new());
static COMPILED: AtomicUsize = AtomicUsize::new(0);
static COMPILED_TRANSACTION: AtomicUsize = AtomicUsize::new(0);

/// An open connection. SQLite removes it from [`OPEN`] before closing it.
#[derive(PartialEq)]
struct Connection(*mut ffi::sqlite3);

// SAFETY: SQLite is built thread-safe, so a connection may be used by any thread.
unsafe impl Send for Connection {}

/// Observations since the last call of [`look`].
pub(crate) struct Seen {
    /// The number of statements each connection holds, in the order of opening.
    pub(crate) held: Vec<usize>,
    /// The texts of held statements that were compiled again, and how often.
    pub(crate) re_prepared: Vec<(String, c_int)>,
    /// The authorizer's calls, at least one per compiled statement.
    pub(crate) compiled: usize,
    /// Compilations of BEGIN, COMMIT and similar, which `compiled` does not include.
    pub(crate) compiled_transaction: usize,
}

/// Watches all connections that are opened from now on.
pub(crate) fn watch() -> Result<()> {
    // SAFETY: `opened` has the signature of an extension's entry point and is never unloaded.
    let code = unsafe { ffi::sqlite3_auto_extension(Some(opened)) };
    ensure!(code == ffi::SQLITE_OK, "SQLite's code {code}");
    Ok(())
}

/// Returns the observations since the last call and resets them. Call it only between calls of the
/// library: a connection that is being closed waits for the same lock.
pub(crate) fn look() -> Seen {
    let open = open();
    let mut seen = Seen {
        held: Vec::new(),
        re_prepared: Vec::new(),
        compiled: COMPILED.swap(0, Ordering::Relaxed),
        compiled_transaction: COMPILED_TRANSACTION.swap(0, Ordering::Relaxed),
    };
    for Connection(connection) in open.iter() {
        let mut held = 0;
        let mut statement = ptr::null_mut();
        loop {
            // SAFETY: The connection is open: `closing` waits for the lock that is held here.
            // `statement` is null or one of the connection's own, see below.
            statement = unsafe { ffi::sqlite3_next_stmt(*connection, statement) };
            if statement.is_null() {
                break;
            }
            held += 1;
            // SAFETY: The statement is the connection's and not finalized: that happens in calls
            // of the library only, of which none is running in a program with one thread.
            let (re_prepared, text) = unsafe {
                let counter = ffi::SQLITE_STMTSTATUS_REPREPARE;
                let re_prepared = ffi::sqlite3_stmt_status(statement, counter, 1);
                (re_prepared, ffi::sqlite3_sql(statement))
            };
            if re_prepared > 0 && !text.is_null() {
                // SAFETY: The text ends in a NUL and lives as long as its statement.
                let text = unsafe { CStr::from_ptr(text) };
                let text = text.to_string_lossy().into_owned();
                seen.re_prepared.push((text, re_prepared));
            }
        }
        seen.held.push(held);
    }
    seen
}

fn open() -> MutexGuard<'static, Vec<Connection>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by SQLite with each connection that was opened.
unsafe extern "C" fn opened(
    connection: *mut ffi::sqlite3,
    _message: *mut *mut c_char,
    _api: *const ffi::sqlite3_api_routines,
) -> c_int {
    open().push(Connection(connection));
    // SAFETY: The connection is open and not used by anyone else yet. The name ends in a NUL; the
    // data is the connection itself, which `closing` only compares. `asked` needs no data.
    unsafe {
        let name = c"turnkeep-budget".as_ptr();
        let code = ffi::sqlite3_set_clientdata(connection, name, connection.cast(), Some(closing));
        if code != ffi::SQLITE_OK {
            return code;
        }
        ffi::sqlite3_set_authorizer(connection, Some(asked), ptr::null_mut())
    }
}

/// Called by SQLite when it begins to close the connection.
unsafe extern "C" fn closing(connection: *mut c_void) {
    let connection = Connection(connection.cast());
    open().retain(|open| *open != connection);
}

/// Called by SQLite while it compiles a statement.
unsafe extern "C" fn asked(
    _data: *mut c_void,
    action: c_int,
    _one: *const c_char,
    _two: *const c_char,
    _three: *const c_char,
    _four: *const c_char,
) -> c_int {
    let counter = match action {
        ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT => &COMPILED_TRANSACTION,
        _ => &COMPILED,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    ffi::SQLITE_OK
}
