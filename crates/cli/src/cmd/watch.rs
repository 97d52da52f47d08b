use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use turnkeep_agents::{ImportedSession, WatchEvent, WatchOptions, WatchStop};
use turnkeep_model::visible_path;
use turnkeep_repo::WorkingDir;
use turnkeep_repo::chrono::{SecondsFormat, Utc};

use crate::args::WatchArgs;
use crate::environment::{agent_homes, import_options};
use crate::failure::{Kind, Problem, is_store_busy, report, warn, warn_of};
use crate::indexes;
use crate::output::Output;
use crate::store::Store;

pub(crate) fn run(args: WatchArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let mut options = WatchOptions::new(import_options()?, agent_homes()?);
    if !args.paths.is_empty() {
        options.roots = args.paths;
    }
    if let Some(file) = options.roots.iter().find(|path| path.is_file()) {
        let message = format!(
            "{} is a file, and only folders are followed",
            visible_path(file)
        );
        return Err(Problem::new(Kind::USAGE, message).into());
    }
    options.interval = args.interval.max(Duration::from_secs(1));
    let mut indexing = Indexing::start(store.clone());
    let builder = store.builder()?;
    let stop = WatchStop::new();
    stop_on_signals(&stop)?;
    let mut printed = Ok(());
    turnkeep_agents::watch(
        || builder.clone().open(),
        &options,
        &stop,
        |event| {
            indexing.event(&event);
            if printed.is_ok() {
                printed = print(event, &options.roots, out);
            }
            if printed.is_err() {
                stop.stop();
            }
        },
    )?;
    indexing.end();
    Ok(printed?)
}

/// Keeps an existing full-text index up to date, so that a search has little to add. It has a thread of its own, since
/// an index may be far behind or locked, and turns are stored meanwhile.
struct Indexing {
    requests: SyncSender<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    /// The time of the last request. `None` while the first import runs.
    requested: Option<Instant>,
}

impl Indexing {
    /// An update reads the list of all tasks.
    const INTERVAL: Duration = Duration::from_secs(60);

    /// The longest wait for an update at the end. One that is interrupted goes on with the next.
    const END: Duration = Duration::from_secs(2);

    fn start(store: Store) -> Self {
        let (requests, waiting) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let _end: Sender<()> = end;
            let mut reported = String::new();
            for () in waiting {
                let Err(error) = update(&store) else {
                    continue;
                };
                // The watch reports that itself.
                if is_store_busy(&error) {
                    continue;
                }
                let text = format!("{error:#}");
                if text != reported {
                    report(&error.context("the full-text index was not brought up to date"));
                    reported = text;
                }
            }
        });
        Self {
            requests,
            ended,
            requested: None,
        }
    }

    fn event(&mut self, event: &WatchEvent) {
        let is_due = match event {
            WatchEvent::CaughtUp => true,
            WatchEvent::Session(_) => self
                .requested
                .is_some_and(|requested| requested.elapsed() >= Self::INTERVAL),
            _ => false,
        };
        if is_due {
            self.requested = Some(Instant::now());
            // If a request is waiting already, its update does the work of this one.
            let _ = self.requests.try_send(());
        }
    }

    /// Waits for an update, a short time.
    fn end(self) {
        drop(self.requests);
        let _ = self.ended.recv_timeout(Self::END);
    }
}

fn update(store: &Store) -> anyhow::Result<()> {
    indexes::update(&store.clone().open()?, store)
}

fn print(event: WatchEvent, roots: &[impl AsRef<Path>], out: &mut Output) -> io::Result<()> {
    match event {
        WatchEvent::Session(session) => {
            match out.is_json() {
                true => out.json(&record(&session)),
                false => out.line(&line(&session)),
            }?;
            return out.flush();
        }
        WatchEvent::CaughtUp => {
            let roots = roots
                .iter()
                .map(|root| visible_path(root.as_ref()).to_string());
            out.note(format_args!(
                "following {}",
                roots.collect::<Vec<_>>().join(", ")
            ))?;
        }
        WatchEvent::Warning(warning) => warn_of(warning),
        WatchEvent::Failed(failure) => {
            report(&failure.into());
        }
        WatchEvent::Polling(error) => {
            warn(format_args!(
                "no notifications of changes, files are looked at every second: {error}"
            ));
        }
        WatchEvent::StoreLost(error) => {
            let error = anyhow::Error::from(error);
            report(&error.context("changes wait for the store, which is tried again"));
        }
        WatchEvent::StoreBack => out.note("the store works again, and has all changes")?,
        _ => {}
    }
    Ok(())
}

fn record(session: &ImportedSession) -> serde_json::Value {
    json!({
        "task_id": session.task_id.as_str(),
        "backend": session.backend_type.as_str(),
        "session_id": session.session_id.as_str(),
        "working_dir": session.working_dir.as_ref().map(WorkingDir::as_str),
        "added_turns": session.added_turns,
        "kept_bytes": session.kept_bytes,
        "path": session.path.to_string_lossy(),
    })
}

fn line(session: &ImportedSession) -> String {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    format!(
        "{time}  {}  new turns: {}, new bytes: {}",
        session.task_id, session.added_turns, session.kept_bytes
    )
}

/// Lets the watch store what there is at the first signal. The second ends the process at once.
#[cfg(unix)]
fn stop_on_signals(stop: &WatchStop) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        signals.next();
        stop.stop();
        signals.next().map(emulate_default_handler)
    });
    Ok(())
}

#[cfg(not(unix))]
fn stop_on_signals(_: &WatchStop) -> anyhow::Result<()> {
    Ok(())
}
