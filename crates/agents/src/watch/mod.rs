//! Follows the homes of agents.

mod changes;
mod event;
mod folders;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use turnkeep_recordings::{Error, Found, find_among};
use turnkeep_repo::{Repo, Result};

use crate::AgentHomes;
use crate::import::{ImportEvent, ImportFailure, ImportOptions, ImportWarning, KnownFiles, import};

pub use changes::WatchStop;
pub use event::WatchEvent;

use folders::Folders;

/// The time between two looks for a folder that was not there, or was replaced.
const TICK: Duration = Duration::from_secs(1);

/// The part of the time in which all files may be looked at, as one of so many.
const SHARE: u32 = 100;

/// The longest wait for a store that has failed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The most messages that are remembered so as not to repeat them.
const MAX_TOLD: usize = 10_000;

/// The circumstances of a [`watch`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WatchOptions {
    /// The folders to follow, which need not exist. Of those in `homes`, only the folders with sessions are followed.
    pub roots: Vec<PathBuf>,
    /// The homes of the agents.
    pub homes: AgentHomes,
    /// The time between two looks at all files. By default a minute.
    ///
    /// Notifications tell of most changes at once. There are none of a file that another machine writes, on a
    /// network drive.
    pub interval: Duration,
    /// The circumstances of each import.
    pub import: ImportOptions,
}

impl WatchOptions {
    /// Follows these homes. They need not be the usual ones, which `import` has.
    #[must_use]
    pub fn new(import: ImportOptions, homes: AgentHomes) -> Self {
        let roots = [&homes.claude, &homes.codex, &homes.goose];
        Self {
            roots: roots.map(Clone::clone).into(),
            homes,
            interval: Duration::from_secs(60),
            import,
        }
    }
}

/// Imports all sessions in some folders, follows the folders, and imports what changes, until it is stopped.
///
/// A change is stored within two seconds, as [`import`](crate::import()) does it. Files and folders may appear,
/// move and go at any time. Where the system gives no notifications of changes, the files are looked at every
/// second, or less often if that takes more than one part in a hundred of the time.
///
/// `open` opens the store, first and again after it has failed. While the store fails, changes wait: the import is
/// repeated after one second, then two, and so on up to thirty. `on_event` is called in this thread.
///
/// # Errors
/// - The first error of `open`, if it is not [retryable](turnkeep_repo::Error::is_retryable).
/// - When stopped: the error of the store, if not everything could be stored.
///
/// ```
/// use turnkeep_agents::{AgentHomes, ImportOptions, WatchEvent, WatchOptions, WatchStop, watch};
/// use turnkeep_repo::Repo;
///
/// # let folder = tempfile::tempdir()?;
/// # let home = folder.path();
/// let homes = AgentHomes::new(
///     home.join(".claude"),
///     home.join(".codex"),
///     home.join(".local/share/goose"),
/// );
/// let options = WatchOptions::new(ImportOptions::new("host-1", homes.clone()), homes);
/// let store = home.join("store.db");
/// let stop = WatchStop::new();
/// watch(|| Repo::open(&store), &options, &stop, |event| match event {
///     WatchEvent::Session(session) => println!("{}: {}", session.task_id, session.added_turns),
///     // A program would stop when the user wants it.
///     WatchEvent::CaughtUp => stop.stop(),
///     other => eprintln!("{other:?}"),
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn watch(
    open: impl FnMut() -> Result<Repo>,
    options: &WatchOptions,
    stop: &WatchStop,
    mut on_event: impl FnMut(WatchEvent),
) -> Result<()> {
    let (folders, result) = Folders::new(&options.roots, &options.homes, stop);
    if let Err(error) = result {
        on_event(WatchEvent::Polling(error.to_string()));
    }
    let watch = Watch {
        options,
        stop,
        folders,
        work: Work::default(),
        unread: BTreeSet::new(),
        store: Store {
            open,
            repo: None,
            has_opened: false,
            failures: 0,
            retry_at: Instant::now(),
        },
        is_caught_up: false,
        told: Told::default(),
        on_event,
    };
    watch.run()
}

struct Watch<'a, O, E> {
    options: &'a WatchOptions,
    stop: &'a WatchStop,
    folders: Folders,
    work: Work,
    /// Folders that could not be searched. They are tried again at the next look.
    unread: BTreeSet<PathBuf>,
    store: Store<O>,
    is_caught_up: bool,
    told: Told,
    on_event: E,
}

/// What is to be imported.
#[derive(Default)]
struct Work {
    /// Folders that have appeared.
    roots: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.files.is_empty()
    }
}

struct Store<O> {
    open: O,
    repo: Option<Repo>,
    has_opened: bool,
    /// The number of failures in a row.
    failures: u32,
    retry_at: Instant,
}

impl<O: FnMut() -> Result<Repo>, E: FnMut(WatchEvent)> Watch<'_, O, E> {
    fn run(mut self) -> Result<()> {
        self.follow_new();
        self.folders.look();
        self.store(false)?;
        let mut next_look = Instant::now() + self.interval();
        loop {
            let changes = self.stop.take(TICK);
            let is_last = self.stop.is_stopped();
            for path in changes.paths {
                self.work.files.extend(self.folders.look_at(&path));
            }
            self.follow_new();
            if is_last || changes.are_incomplete || next_look <= Instant::now() {
                let begun = Instant::now();
                self.work.files.extend(self.folders.look());
                self.work.roots.append(&mut self.unread);
                next_look = Instant::now() + self.interval().max(begun.elapsed() * SHARE);
            }
            if is_last || self.store.retry_at <= Instant::now() {
                self.store(is_last)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn interval(&self) -> Duration {
        match self.folders.has_notifications() {
            true => self.options.interval,
            false => self.options.interval.min(TICK),
        }
    }

    fn follow_new(&mut self) {
        let (roots, result) = self.folders.follow_new();
        self.work.roots.extend(roots);
        if let Err(error) = result {
            (self.on_event)(WatchEvent::Polling(error.to_string()));
        }
    }

    /// Imports what there is to do. Fails only as [`watch`] does.
    fn store(&mut self, is_last: bool) -> Result<()> {
        match self.import() {
            Ok(()) => {
                if std::mem::take(&mut self.store.failures) > 0 {
                    (self.on_event)(WatchEvent::StoreBack);
                }
                if !std::mem::replace(&mut self.is_caught_up, true) {
                    (self.on_event)(WatchEvent::CaughtUp);
                }
                Ok(())
            }
            Err(error) if is_last || !self.store.has_opened && !error.is_retryable() => Err(error),
            Err(error) => {
                self.store.repo = None;
                if !error.is_retryable() {
                    // Another store may be there now.
                    self.work.roots.extend(self.folders.roots());
                }
                let wait = TICK * 2_u32.saturating_pow(self.store.failures.min(10));
                self.store.retry_at = Instant::now() + wait.min(LONGEST_WAIT);
                self.store.failures += 1;
                if self.store.failures == 1 {
                    (self.on_event)(WatchEvent::StoreLost(error));
                }
                Ok(())
            }
        }
    }

    fn import(&mut self) -> Result<()> {
        if self.work.is_empty() && self.store.has_opened {
            return Ok(());
        }
        let repo = match &self.store.repo {
            Some(repo) => repo.clone(),
            None => (self.store.open)()?,
        };
        self.store.repo = Some(repo.clone());
        self.store.has_opened = true;
        for root in self.work.roots.clone() {
            let known = KnownFiles::load(&repo, &self.options.import)?;
            let found = known.find(&root, None);
            self.import_found(&repo, &root, found)?;
            self.work.roots.remove(&root);
        }
        let mut by_root: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for path in &self.work.files {
            if let Some(root) = self.folders.root_of(path) {
                by_root
                    .entry(root.to_owned())
                    .or_default()
                    .push(path.clone());
            }
        }
        for (root, files) in by_root {
            let found = find_among(&root, &files);
            self.import_found(&repo, &root, found)?;
        }
        self.work.files.clear();
        Ok(())
    }

    fn import_found(
        &mut self,
        repo: &Repo,
        root: &Path,
        found: Result<Found, Error>,
    ) -> Result<()> {
        let found = match found {
            Ok(found) => found,
            // It is gone again.
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => {
                self.unread.insert(root.to_owned());
                self.told.fail(error.into(), &mut self.on_event);
                return Ok(());
            }
        };
        let options = &self.options.import;
        import(repo, &found, options, &mut |event| match event {
            ImportEvent::Session(session)
                if session.is_new || session.added_turns > 0 || session.kept_bytes > 0 =>
            {
                (self.on_event)(WatchEvent::Session(session));
            }
            // The agent may just be writing the line.
            ImportEvent::Warning(ImportWarning::DamagedLines { .. }) => {}
            ImportEvent::Warning(warning) => {
                if let ImportWarning::NotKept { path, .. } = &warning {
                    self.folders.forget(path);
                }
                self.told.warn(warning, &mut self.on_event);
            }
            ImportEvent::Failed(failure) => {
                failure.path().inspect(|path| self.folders.forget(path));
                self.told.fail(failure, &mut self.on_event);
            }
            _ => {}
        })?;
        for error in found.passed_over {
            // Other files are in no folder with sessions.
            if matches!(error, Error::LeadsOut { .. }) {
                self.told.warn(error.into(), &mut self.on_event);
            }
        }
        Ok(())
    }
}

/// The warnings and failures that were told.
#[derive(Default)]
struct Told(HashSet<String>);

impl Told {
    fn is_first(&mut self, text: String) -> bool {
        if self.0.len() >= MAX_TOLD {
            self.0.clear();
        }
        self.0.insert(text)
    }

    fn fail(&mut self, failure: ImportFailure, on_event: &mut impl FnMut(WatchEvent)) {
        if self.is_first(in_full(&failure)) {
            on_event(WatchEvent::Failed(failure));
        }
    }

    fn warn(&mut self, warning: ImportWarning, on_event: &mut impl FnMut(WatchEvent)) {
        if self.is_first(warning.to_string()) {
            on_event(WatchEvent::Warning(warning));
        }
    }
}

/// Returns the message with its causes.
fn in_full(failure: &ImportFailure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
