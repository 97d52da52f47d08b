//! Intercepts the C library's calls that change files.
//!
//! The linker prefers the functions defined here for everything in this program, including SQLite
//! and the standard library. Each function forwards to the system. In a process that called
//! [`arm`], a [`Plan`] decides on the call.
#![expect(
    unsafe_code,
    reason = "these are the C library's own names and types, with their promises"
)]

use std::collections::HashSet;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libc::{mode_t, off_t, size_t, ssize_t};

/// A call on a file in the watched folder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call<'a> {
    /// `made` is true if the call created the file.
    Open {
        path: &'a [u8],
        made: bool,
    },
    Close,
    Write {
        offset: u64,
        data: &'a [u8],
    },
    Truncate {
        length: u64,
    },
    Sync,
    Remove {
        path: &'a [u8],
    },
    MakeFolder {
        path: &'a [u8],
    },
    Rename {
        path: &'a [u8],
        to: &'a [u8],
        /// Whether the new name may already exist.
        replaces: bool,
    },
    /// A hard link.
    Link {
        path: &'a [u8],
        to: &'a [u8],
    },
}

/// The fate of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Goes,
    /// The call fails without reaching the system.
    Fails(c_int),
    /// A write stops half-way.
    IsCutShort,
}

/// Decides on calls. Runs under a lock, so it must not make intercepted calls.
pub(crate) trait Plan: Send {
    fn before(&mut self, call: Call<'_>) -> Fate;

    /// Called after the system's call. `fd` is the file of the call, or the opened file.
    fn after(&mut self, fd: c_int, call: Call<'_>);

    /// Locks out other processes.
    fn lock(&mut self) {}

    fn unlock(&mut self) {}
}

struct Armed {
    folder: Vec<u8>,
    inner: Mutex<Inner>,
}

struct Inner {
    plan: Box<dyn Plan>,
    /// The open files of the folder.
    files: HashSet<c_int>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Lets `plan` decide on all later calls of this process on `folder`.
pub(crate) fn arm(folder: &Path, plan: Box<dyn Plan>) {
    let armed = Armed {
        folder: folder.as_os_str().as_bytes().to_vec(),
        inner: Mutex::new(Inner {
            plan,
            files: HashSet::new(),
        }),
    };
    assert!(ARMED.set(armed).is_ok(), "armed once");
}

impl Armed {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn covers(&self, path: &[u8]) -> bool {
        path.starts_with(&self.folder)
    }
}

impl Inner {
    /// Makes a call that the plan may let fail.
    fn make<'p>(
        &mut self,
        fd: c_int,
        call: impl FnOnce() -> Call<'p>,
        real: impl FnOnce() -> c_long,
    ) -> c_long {
        self.plan.lock();
        let call = call();
        let fate = self.plan.before(call);
        let result = match fate {
            Fate::Fails(errno) => fail(errno),
            Fate::Goes | Fate::IsCutShort => real(),
        };
        if result >= 0 {
            let errno = errno();
            let fd = match call {
                Call::Open { .. } => result as c_int,
                _ => fd,
            };
            match call {
                Call::Open { .. } => {
                    self.files.insert(fd);
                }
                Call::Close => {
                    self.files.remove(&fd);
                }
                _ => {}
            }
            self.plan.after(fd, call);
            set_errno(errno);
        }
        self.plan.unlock();
        result
    }
}

/// Writes without asking the plan.
pub(crate) fn write_unseen(file: &File, mut data: &[u8]) {
    let fd = file.as_raw_fd();
    while !data.is_empty() {
        // SAFETY: reads from `data` alone.
        let written = unsafe { libc::syscall(libc::SYS_write, fd, data.as_ptr(), data.len()) };
        assert!(written > 0, "a recording must be whole");
        data = &data[written as usize..];
    }
}

/// Takes or releases a lock on `file`.
pub(crate) fn flock(file: &File, operation: c_int) {
    // SAFETY: the descriptor is open as long as `file` is.
    let result = unsafe { libc::flock(file.as_raw_fd(), operation) };
    assert!(result == 0, "a recording must be in order");
}

/// Kills this process.
pub(crate) fn die() {
    // SAFETY: nothing comes after it.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

fn errno() -> c_int {
    // SAFETY: points to this thread's errno.
    unsafe { *libc::__errno_location() }
}

fn set_errno(errno: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno }
}

fn fail(errno: c_int) -> c_long {
    set_errno(errno);
    -1
}

/// Makes a call on an open file; asks the plan only if the file is in the folder.
fn on_file(fd: c_int, call: Call<'_>, real: impl FnOnce() -> c_long) -> c_long {
    let Some(armed) = ARMED.get() else {
        return real();
    };
    let mut inner = armed.lock();
    if !inner.files.contains(&fd) {
        drop(inner);
        return real();
    }
    inner.make(fd, || call, real)
}

/// # Safety
/// `path` is null or a string that ends with NUL.
unsafe fn on_path<'p>(
    path: *const c_char,
    call: impl FnOnce(&'p [u8]) -> Call<'p>,
    real: impl FnOnce() -> c_long,
) -> c_long {
    let Some(armed) = ARMED.get().filter(|_| !path.is_null()) else {
        return real();
    };
    // SAFETY: the caller's.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    if !armed.covers(path) {
        return real();
    }
    armed.lock().make(-1, || call(path), real)
}

unsafe fn open_any(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    let exists =
        || unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) == 0 };
    let call = |path| {
        let made = flags & libc::O_CREAT != 0 && !exists();
        Call::Open { path, made }
    };
    unsafe { on_path(path, call, real) as c_int }
}

unsafe fn write_at(
    fd: c_int,
    data: *const c_void,
    length: size_t,
    offset: Option<off_t>,
) -> ssize_t {
    let real = |length: size_t| match offset {
        Some(offset) => unsafe { libc::syscall(libc::SYS_pwrite64, fd, data, length, offset) },
        None => unsafe { libc::syscall(libc::SYS_write, fd, data, length) },
    };
    let Some(armed) = ARMED.get() else {
        return real(length) as ssize_t;
    };
    let mut inner = armed.lock();
    if !inner.files.contains(&fd) {
        drop(inner);
        return real(length) as ssize_t;
    }
    let at = offset.unwrap_or_else(|| unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) });
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
    let call = |data| Call::Write {
        offset: at as u64,
        data,
    };
    inner.plan.lock();
    let result = match inner.plan.before(call(bytes)) {
        Fate::Goes => real(length),
        Fate::IsCutShort => real(length / 2),
        Fate::Fails(errno) => fail(errno),
    };
    if result > 0 {
        let errno = errno();
        inner.plan.after(fd, call(&bytes[..result as usize]));
        set_errno(errno);
    }
    inner.plan.unlock();
    result as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { open_any(path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { open_any(path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    on_file(fd, Call::Close, || unsafe {
        libc::syscall(libc::SYS_close, fd)
    }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, data: *const c_void, length: size_t) -> ssize_t {
    unsafe { write_at(fd, data, length, None) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(
    fd: c_int,
    data: *const c_void,
    length: size_t,
    offset: off_t,
) -> ssize_t {
    unsafe { write_at(fd, data, length, Some(offset)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: c_int,
    data: *const c_void,
    length: size_t,
    offset: off_t,
) -> ssize_t {
    unsafe { write_at(fd, data, length, Some(offset)) }
}

fn truncate_any(fd: c_int, length: off_t) -> c_int {
    let call = Call::Truncate {
        length: length as u64,
    };
    on_file(fd, call, || unsafe {
        libc::syscall(libc::SYS_ftruncate, fd, length)
    }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    truncate_any(fd, length)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    truncate_any(fd, length)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    on_file(fd, Call::Sync, || unsafe {
        libc::syscall(libc::SYS_fsync, fd)
    }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    on_file(fd, Call::Sync, || unsafe {
        libc::syscall(libc::SYS_fdatasync, fd)
    }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    unsafe { on_path(path, |path| Call::Remove { path }, real) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    unsafe { on_path(path, |path| Call::MakeFolder { path }, real) as c_int }
}

/// The random bits of the shaken clock; 0 for the system's clock.
static SHAKEN: AtomicU64 = AtomicU64::new(0);

/// Makes each read of the wall clock differ from the true time by up to a century. Monotonic clocks
/// are unchanged.
pub(crate) fn shake_clock(seed: u64) {
    SHAKEN.store(seed | 1, Ordering::Relaxed);
}

/// The offset of the clock in seconds.
static OFF: AtomicI64 = AtomicI64::new(0);

/// Shifts the wall clock, which SQLite also reads, by this many seconds.
pub(crate) fn shift_clock(seconds: i64) {
    OFF.store(seconds, Ordering::Relaxed);
}

/// SQLite reads the time with this call.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(time: *mut libc::timeval, zone: *mut libc::c_void) -> c_int {
    let result = unsafe { libc::syscall(libc::SYS_gettimeofday, time, zone) } as c_int;
    if result == 0 {
        unsafe { (*time).tv_sec += OFF.load(Ordering::Relaxed) };
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    if result == 0 && clock == libc::CLOCK_REALTIME {
        unsafe { (*time).tv_sec += OFF.load(Ordering::Relaxed) };
    }
    let bits = SHAKEN.load(Ordering::Relaxed);
    if result == 0 && clock == libc::CLOCK_REALTIME && bits != 0 {
        let mut rng = fastrand::Rng::with_seed(bits);
        let century = 100 * 365 * 24 * 60 * 60;
        unsafe { (*time).tv_sec += rng.i64(-century..century) };
        SHAKEN.store(rng.u64(..) | 1, Ordering::Relaxed);
    }
    result
}

/// # Safety
/// `from` and `to` are null or strings that end with NUL.
unsafe fn on_paths<'p>(
    from: *const c_char,
    to: *const c_char,
    call: impl FnOnce(&'p [u8], &'p [u8]) -> Call<'p>,
    real: impl FnOnce() -> c_long,
) -> c_int {
    // SAFETY: the caller's.
    let call = |from| unsafe { call(from, CStr::from_ptr(to).to_bytes()) };
    unsafe { on_path(from, call, real) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    unsafe { renameat2(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat2(
    from_folder: c_int,
    from: *const c_char,
    to_folder: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    let real =
        || unsafe { libc::syscall(libc::SYS_renameat2, from_folder, from, to_folder, to, flags) };
    let replaces = flags & libc::RENAME_NOREPLACE == 0;
    let call = |path, to| Call::Rename { path, to, replaces };
    unsafe { on_paths(from, to, call, real) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    from_folder: c_int,
    from: *const c_char,
    to_folder: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    let real =
        || unsafe { libc::syscall(libc::SYS_linkat, from_folder, from, to_folder, to, flags) };
    unsafe { on_paths(from, to, |path, to| Call::Link { path, to }, real) }
}
