//! Power losses: stores that lack unsynced changes are opened.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, bail, ensure};
use fastrand::Rng;
use tempfile::TempDir;
use turnkeep_repo::{BackendType, Durability, NewSession, Repo, Role, SessionId, TaskId};

use crate::driver::{Rounds, Row};
use crate::image::Disk;
use crate::process::Process;
use crate::recording::{self, Event};
use crate::store;

pub(crate) const ROW: Row = Row {
    name: "power",
    holds: "power loss: nothing acknowledged is lost at FULL, only a tail at NORMAL; never damage",
    short: 200,
    full: 10_000,
    run,
};

/// Images per recording.
const IMAGES: u64 = 50;

/// The path of the store, whose folders must survive as well.
const PLACE: &str = "new/folder/store.db";

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let mut recorded: Option<(u64, Recorded)> = None;
    let seed = rounds.seed();
    let mut recordings = 0;
    let mut by_loss: HashMap<String, u64> = HashMap::new();
    rounds.each(|number, rng| {
        let group = number / IMAGES;
        let scene = match &recorded {
            Some((of, scene)) if *of == group => scene,
            _ => {
                recordings += 1;
                let scene = Recorded::new(&mut Rng::with_seed(seed.wrapping_add(group)), group)?;
                &recorded.insert((group, scene)).1
            }
        };
        let loss = scene.crash_once(rng)?;
        *by_loss.entry(loss).or_default() += 1;
        Ok(())
    });
    rounds.note(format!("{recordings} recordings"));
    let mut by_loss: Vec<_> = by_loss
        .into_iter()
        .map(|(loss, count)| format!("{loss} {count}"))
        .collect();
    by_loss.sort_unstable();
    rounds.note(by_loss.join(" "));
    Ok(())
}

/// A recorded life of a store.
struct Recorded {
    durability: Durability,
    folder: PathBuf,
    events: Vec<Event>,
    /// The events that acknowledged a backup.
    backup_ends: Vec<usize>,
}

impl Recorded {
    /// Records processes that write a store.
    fn new(rng: &mut Rng, group: u64) -> anyhow::Result<Self> {
        let place = TempDir::new()?;
        let folder = place.path().join("disk");
        std::fs::create_dir(&folder)?;
        let log = place.path().join("recording");
        let (name, durability) = match group % 2 {
            0 => ("full", Durability::Full),
            _ => ("normal", Durability::Normal),
        };
        let (folder_arg, log_arg) = (
            folder.to_str().context("a path in UTF-8")?,
            log.to_str().context("a path in UTF-8")?,
        );
        let renames = ["true", "false"][rng.usize(..2)];
        let processes = rng.usize(1..=2);
        let processes = (0..processes)
            .map(|number| {
                let (number, seed) = (number.to_string(), rng.u64(..).to_string());
                Process::start(&["record", folder_arg, log_arg, name, renames, &number, &seed])
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        for process in processes {
            process.finish().context("recording")?;
        }
        let events = recording::read(&log)?;
        let is_rename = |event| matches!(event, &Event::Rename { .. } | &Event::Link { .. });
        ensure!(events.iter().any(is_rename), "no file got its name");
        let is_end =
            |event: &Event| matches!(event, Event::Mark(mark) if mark.starts_with("backed "));
        let ends = events.iter().enumerate().filter(|(_, event)| is_end(event));
        let backup_ends = ends.map(|(moment, _)| moment).collect();
        Ok(Self {
            durability,
            folder,
            events,
            backup_ends,
        })
    }

    /// Cuts the recording at a random event and checks a possible image. Returns the kind of loss.
    fn crash_once(&self, rng: &mut Rng) -> anyhow::Result<String> {
        // A quarter of the cuts is during creation, another around the end of a backup.
        let all = self.events.len();
        let cut = match rng.u8(..4) {
            0 => rng.usize(..=all.min(200)),
            1 => {
                let end = self.backup_ends[rng.usize(..self.backup_ends.len())];
                rng.usize(end.saturating_sub(20)..=(end + 20).min(all))
            }
            _ => rng.usize(..=all),
        };
        let disk = Disk::after(&self.folder, &self.events[..cut])?;
        let target = store::folder_in_memory()?;
        let loss = disk.crash(&self.folder, target.path(), rng)?;
        let kept = store::folder_in_memory()?;
        copy(target.path(), kept.path())?;
        let expected = Expected::of(&self.events[..cut])?;
        let result = expected
            .compare(&target.path().join(PLACE), self.durability)
            .and_then(|()| expected.compare_backups(target.path()));
        if let Err(error) = result {
            let image = kept.keep();
            return Err(error.context(format!(
                "{:?}, {loss:?} lost after event {cut} of {}, image in {}",
                self.durability,
                self.events.len(),
                image.display()
            )));
        }
        Ok(format!("{loss:?}"))
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Runs in the recorded process: opens and closes the store several times, and writes with several
/// threads in between.
pub(crate) fn record(
    folder: &str,
    log: &str,
    durability: &str,
    renames: bool,
    name: &str,
    seed: u64,
) -> anyhow::Result<()> {
    let durability = match durability {
        "full" => Durability::Full,
        "normal" => Durability::Normal,
        other => bail!("unknown durability {other}"),
    };
    let folder = Path::new(folder);
    recording::start(folder, Path::new(log), renames)?;
    let mut rng = Rng::with_seed(seed);
    for session in 0..rng.usize(1..=3) {
        let repo = Repo::builder(folder.join(PLACE))
            .durability(durability)
            .open()?;
        let tasks = ["a", "b"].map(|task| store::save_task(&repo, task));
        let tasks = tasks.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let threads = rng.usize(1..=3);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..threads)
                .map(|thread| {
                    let writer = format!("p{name}s{session}t{thread}");
                    let rng = Rng::with_seed(rng.u64(..));
                    let (repo, tasks) = (&repo, &tasks);
                    scope.spawn(move || write_as(repo, tasks, &writer, rng))
                })
                .collect();
            writers.into_iter().try_for_each(|writer| {
                let result = writer.join();
                result.unwrap_or_else(|_| bail!("a writer panicked"))
            })
        })?;
        let backup = format!("backup-p{name}s{session}.db");
        recording::mark(&format!("backup {backup}"))?;
        repo.backup(folder.join(&backup))?;
        recording::mark(&format!("backed {backup}"))?;
    }
    Ok(())
}

fn write_as(repo: &Repo, tasks: &[TaskId], writer: &str, mut rng: Rng) -> anyhow::Result<()> {
    // Either few writes, or so many that the log is checkpointed and restarted.
    let most = [1_000, 60_000][rng.usize(..2)];
    for number in 1..=rng.u64(1..100) {
        let task = &tasks[rng.usize(..tasks.len())];
        let length = rng.usize(..most);
        recording::mark(&format!("begin {task} {writer} {number} {length}"))?;
        let seq = repo.save_message(task, Role::User, &text(writer, number, length))?;
        recording::mark(&format!("ack {seq} {writer} {number}"))?;
        if rng.u8(..8) == 0 {
            let id = SessionId::new(format!("{writer}-{number}"))?;
            recording::mark(&format!("bind {task} {id}"))?;
            repo.save_session(task, &NewSession::new(BackendType::Codex, id.clone()))?;
            recording::mark(&format!("bound {task} {id}"))?;
        }
    }
    Ok(())
}

fn text(writer: &str, number: u64, length: usize) -> String {
    format!("{writer} {number} {}", "x".repeat(length))
}

/// A message that was sent before the power loss.
#[derive(Debug)]
struct Message {
    task: String,
    text: String,
    begun: usize,
    /// The event and the seq of its acknowledgement.
    acknowledged: Option<(usize, usize)>,
}

#[derive(Debug, Default)]
struct Expected {
    /// By writer and number.
    messages: HashMap<(String, u64), Message>,
    /// By task and session: whether it was acknowledged.
    bindings: HashMap<(String, String), bool>,
    /// By name: the least number of messages, and whether it was acknowledged.
    backups: HashMap<String, (usize, bool)>,
}

impl Expected {
    fn of(events: &[Event]) -> anyhow::Result<Self> {
        let mut expected = Self::default();
        for (moment, event) in events.iter().enumerate() {
            let Event::Mark(mark) = event else { continue };
            let words: Vec<&str> = mark.split(' ').collect();
            match words[..] {
                ["begin", task, writer, number, length] => {
                    let number = number.parse()?;
                    let message = Message {
                        task: task.into(),
                        text: text(writer, number, length.parse()?),
                        begun: moment,
                        acknowledged: None,
                    };
                    expected.messages.insert((writer.into(), number), message);
                }
                ["ack", seq, writer, number] => {
                    let key = (writer.into(), number.parse()?);
                    let message = expected.messages.get_mut(&key).context("never begun")?;
                    message.acknowledged = Some((moment, seq.parse()?));
                }
                ["bind", task, id] => {
                    expected.bindings.insert((task.into(), id.into()), false);
                }
                ["bound", task, id] => {
                    expected.bindings.insert((task.into(), id.into()), true);
                }
                ["backup", name] => {
                    let acknowledged = expected.messages.values();
                    let count = acknowledged.filter(|it| it.acknowledged.is_some()).count();
                    expected.backups.insert(name.into(), (count, false));
                }
                ["backed", name] => {
                    let backup = expected.backups.get_mut(name).context("never begun")?;
                    backup.1 = true;
                }
                _ => bail!("unknown mark `{mark}`"),
            }
        }
        Ok(expected)
    }

    /// Opens an image and compares it with the acknowledged writes.
    fn compare(&self, path: &Path, durability: Durability) -> anyhow::Result<()> {
        let repo = Repo::builder(path)
            .durability(durability)
            .open()
            .context("opening")?;
        let mut survivors = HashMap::new();
        for task in repo.get_tasks()? {
            for (index, text) in store::contents(&repo, &task.id)?.into_iter().enumerate() {
                let key = key_of(&text)?;
                let message = self
                    .messages
                    .get(&key)
                    .context("a turn that was never sent")?;
                ensure!(
                    message.task == task.id.as_str() && message.text == text,
                    "{key:?} is not what was said"
                );
                if let Some((_, seq)) = message.acknowledged {
                    ensure!(seq == index + 1, "{key:?} was turn {seq}, is {}", index + 1);
                }
                let twin = survivors.insert(key, message);
                ensure!(twin.is_none(), "{twin:?} is there twice");
            }
        }
        self.compare_lost(&survivors, durability)?;
        self.compare_bindings(&repo, durability)?;
        let task = store::save_task(&repo, "after")?;
        repo.save_message(&task, Role::User, "it goes on")?;
        drop(repo);
        store::check(path)
    }

    /// A backup is complete or missing, whatever the durability. An acknowledged one is there.
    fn compare_backups(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, (count, is_acknowledged)) in &self.backups {
            let path = folder.join(name);
            if !path.exists() {
                ensure!(!is_acknowledged, "{name} was acknowledged and is lost");
                continue;
            }
            let repo = Repo::open(&path).with_context(|| format!("opening {name}"))?;
            let mut turns = 0;
            for task in repo.get_tasks()? {
                for text in store::contents(&repo, &task.id)? {
                    let message = self.messages.get(&key_of(&text)?);
                    ensure!(
                        message.is_some_and(|message| message.text == text),
                        "a turn of {name} is not what was said"
                    );
                    turns += 1;
                }
            }
            ensure!(*count <= turns, "{name} has {turns} turns of {count}");
            drop(repo);
            store::check(&path)?;
        }
        Ok(())
    }

    /// Every binding is recorded, and there are no others.
    fn compare_bindings(&self, repo: &Repo, durability: Durability) -> anyhow::Result<()> {
        let mut survivors = HashSet::new();
        for task in repo.get_tasks()? {
            for revision in repo.list_session_revisions(&task.id)? {
                let key = (task.id.to_string(), revision.session_id.to_string());
                ensure!(self.bindings.contains_key(&key), "{key:?} was never bound");
                survivors.insert(key);
            }
        }
        for (key, is_acknowledged) in &self.bindings {
            ensure!(
                !is_acknowledged || durability != Durability::Full || survivors.contains(key),
                "the binding {key:?} was acknowledged and is lost"
            );
        }
        Ok(())
    }

    /// A missing write was not acknowledged, or with NORMAL it came last.
    fn compare_lost(
        &self,
        survivors: &HashMap<(String, u64), &Message>,
        durability: Durability,
    ) -> anyhow::Result<()> {
        let last_begun = survivors.values().map(|message| message.begun).max();
        for (key, message) in &self.messages {
            let Some((acknowledged, seq)) = message.acknowledged else {
                continue;
            };
            if survivors.contains_key(key) {
                continue;
            }
            ensure!(
                durability != Durability::Full,
                "{key:?}, acknowledged as turn {seq} of `{}`, is lost",
                message.task
            );
            ensure!(
                last_begun < Some(acknowledged),
                "{key:?} is lost and what was begun later is not"
            );
        }
        Ok(())
    }
}

fn key_of(text: &str) -> anyhow::Result<(String, u64)> {
    let mut words = text.split(' ');
    let writer = words.next().context("a writer")?;
    let number = words.next().context("a number")?;
    Ok((writer.into(), number.parse()?))
}
