//! The connections that the library opens, seen from SQLite's side.
//!
//! SQLite calls an extension for each connection that anyone in the process opens. This one
//! remembers the connection until it is closed, and has SQLite tell when it compiles a statement:
//! it asks its authorizer then, and only then. A statement that is prepared for a single call and
//! dropped after it leaves no other trace. One that is kept but compiled anew at each call, as
//! those with a bound LIMIT are, shows in its own counter too.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use libsqlite3_sys as ffi;

static OPEN: Mutex<Vec<Connection>> = Mutex::new(Vec::new());
static COMPILED: AtomicUsize = AtomicUsize::new(0);
static COMPILED_TRANSACTION: AtomicUsize = AtomicUsize::new(0);

/// An open connection. It is in [`OPEN`] only until SQLite begins to close it.
#[derive(PartialEq)]
struct Connection(*mut ffi::sqlite3);

// SAFETY: SQLite is built thread-safe, so a connection may be used by any thread.
unsafe impl Send for Connection {}

/// What was seen since the last look.
pub(crate) struct Seen {
    /// How many statements each connection holds, in the order in which they were opened.
    pub(crate) held: Vec<usize>,
    /// Texts of the statements that were compiled anew while they were held, and how often.
    pub(crate) re_prepared: Vec<(String, c_int)>,
    /// What the compiler asked about: at least once per statement. 0 when nothing was compiled.
    pub(crate) compiled: usize,
    /// How often BEGIN, COMMIT and their like were compiled, which is not in `compiled`.
    pub(crate) compiled_transaction: usize,
}

/// Watches all connections that are opened from now on.
pub(crate) fn watch() -> Result<()> {
    // SAFETY: `opened` has the signature of an extension's entry point and is never unloaded.
    let code = unsafe { ffi::sqlite3_auto_extension(Some(opened)) };
    ensure!(code == ffi::SQLITE_OK, "SQLite's code {code}");
    Ok(())
}

/// Returns what was seen since the last look, and forgets it. To be called between calls of the
/// library: a connection that is just being closed would wait for this and this for it.
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

/// Called by SQLite while it compiles a statement, to ask whether it may do this and that.
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
