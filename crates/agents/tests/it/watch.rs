use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use turnkeep_agents::{ImportWarning, WatchEvent, WatchOptions, WatchStop, watch};
use turnkeep_repo::{ErrorKind, NewTask, Repo, Result};

use crate::support::{CLAUDE, World, going_on, id, jsonl, prompt, transcript};

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watch in a thread.
struct Watching {
    stop: WatchStop,
    events: Receiver<WatchEvent>,
    thread: JoinHandle<Result<()>>,
}

impl Watching {
    fn of(world: &World) -> Self {
        let watching = Self::opening(world, {
            let repo = world.repo.clone();
            move || Ok(repo.clone())
        });
        watching.caught_up();
        watching
    }

    fn opening(world: &World, open: impl FnMut() -> Result<Repo> + Send + 'static) -> Self {
        let (sender, events) = channel();
        let stop = WatchStop::new();
        let mut options = WatchOptions::new(world.options.clone(), world.options.homes.clone());
        // Only notifications tell of changes in time.
        options.interval = 2 * PATIENCE;
        let thread = thread::spawn({
            let stop = stop.clone();
            move || watch(open, &options, &stop, |event| drop(sender.send(event)))
        });
        Self {
            stop,
            events,
            thread,
        }
    }

    fn next(&self) -> WatchEvent {
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                // Other programs have all notifications of the system.
                WatchEvent::Polling(_) => {}
                event => return event,
            }
        }
    }

    #[track_caller]
    fn caught_up(&self) {
        let event = self.next();
        assert!(matches!(event, WatchEvent::CaughtUp), "{event:?}");
    }

    /// Waits for a session, and returns its task and the number of new turns.
    #[track_caller]
    fn session(&self) -> (String, i64) {
        loop {
            match self.next() {
                // Only its files have grown or moved.
                WatchEvent::Session(session) if session.added_turns == 0 => {}
                WatchEvent::Session(session) => {
                    return (session.task_id.to_string(), session.added_turns);
                }
                event => panic!("{event:?}"),
            }
        }
    }

    /// Stops the watch, and returns the further events.
    fn stop(self) -> Vec<WatchEvent> {
        self.stop.stop();
        self.thread.join().unwrap().unwrap();
        let is_told = |event: &WatchEvent| match event {
            WatchEvent::Session(session) => session.added_turns > 0,
            WatchEvent::Polling(_) => false,
            _ => true,
        };
        self.events.iter().filter(is_told).collect()
    }
}

fn task() -> String {
    format!("claude:{CLAUDE}")
}

fn write(world: &World, texts: &[&str]) -> PathBuf {
    world.file(
        &format!(".claude/projects/-srv-app/{CLAUDE}.jsonl"),
        transcript(texts),
    )
}

fn append(path: &Path, minute: usize, text: &str) {
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(jsonl([prompt(minute, text)]).as_bytes())
        .unwrap();
}

#[test]
fn words_are_stored_as_they_are_written() {
    let world = World::new();
    fs::create_dir_all(world.path(".claude/projects")).unwrap();
    let watching = Watching::of(&world);
    // In a folder that did not exist.
    let path = write(&world, &["a"]);
    assert_eq!(watching.session(), (task(), 1));
    append(&path, 1, "b");
    assert_eq!(watching.session(), (task(), 1));
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    let lines = jsonl([prompt(2, "c"), prompt(3, "d")]);
    file.write_all(lines.as_bytes()).unwrap();
    assert_eq!(watching.session(), (task(), 2));
    assert_eq!(world.history(&task()), ["a", "b", "c", "d"]);
    assert!(watching.stop().is_empty());
}

#[test]
fn what_was_written_before_is_caught_up() {
    let world = World::new();
    let path = write(&world, &["a"]);
    let open = |world: &World| {
        let repo = world.repo.clone();
        Watching::opening(world, move || Ok(repo.clone()))
    };
    let watching = open(&world);
    assert_eq!(watching.session(), (task(), 1));
    watching.caught_up();
    assert!(watching.stop().is_empty());
    append(&path, 1, "b");
    let watching = open(&world);
    assert_eq!(watching.session(), (task(), 1));
    watching.caught_up();
    assert!(watching.stop().is_empty());
    assert_eq!(world.history(&task()), ["a", "b"]);
}

#[test]
fn homes_may_appear_and_be_replaced() {
    let world = World::new();
    let watching = Watching::of(&world);
    let path = write(&world, &["a"]);
    assert_eq!(watching.session(), (task(), 1));
    // Moved away as a whole, and made anew.
    fs::rename(world.path(".claude"), world.path("old")).unwrap();
    let path = path.parent().unwrap().join(CLAUDE).with_extension("jsonl");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(
        world.path(&format!("old/projects/-srv-app/{CLAUDE}.jsonl")),
        &path,
    )
    .unwrap();
    append(&path, 1, "b");
    assert_eq!(watching.session(), (task(), 1));
    append(&path, 2, "c");
    assert_eq!(watching.session(), (task(), 1));
    assert_eq!(world.history(&task()), ["a", "b", "c"]);
    watching.stop();
}

#[test]
fn files_may_move_and_go() {
    let world = World::new();
    let path = write(&world, &["a"]);
    let repo = world.repo.clone();
    let watching = Watching::opening(&world, move || Ok(repo.clone()));
    watching.session();
    watching.caught_up();
    // A project that moves, as a file and as a folder.
    let moved = world.path(".claude/projects/-srv-new");
    fs::rename(path.parent().unwrap(), &moved).unwrap();
    let path = moved.join(CLAUDE).with_extension("jsonl");
    append(&path, 1, "b");
    assert_eq!(watching.session(), (task(), 1));
    fs::remove_file(&path).unwrap();
    let texts = ["a", "b", "c"];
    world.file(
        &format!(".claude/projects/-srv-new/{CLAUDE}.jsonl"),
        transcript(&texts),
    );
    assert_eq!(watching.session(), (task(), 1));
    fs::remove_dir_all(world.path(".claude")).unwrap();
    assert!(watching.stop().is_empty());
    assert_eq!(world.history(&task()), texts);
}

#[test]
fn sessions_of_goose_and_codex_are_followed() {
    let world = World::new();
    let thread = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
    let watching = Watching::of(&world);
    world.goose("goose/sessions/sessions.db", &[("20260203_1", "a")]);
    assert_eq!(watching.session(), ("goose:20260203_1".into(), 1));
    world.goose("goose/sessions/sessions.db", &[("20260203_1", "b")]);
    assert_eq!(watching.session(), ("goose:20260203_1".into(), 1));
    let meta = json!({"timestamp": "2026-02-03T10:00:00.250Z", "type": "session_meta",
        "payload": {"id": thread, "cwd": "/srv/app"}});
    let message = json!({"timestamp": "2026-02-03T10:00:00.250Z", "type": "response_item", "payload":
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}});
    let name = format!(".codex/sessions/2026/02/03/rollout-2026-02-03T10-00-00-{thread}.jsonl");
    world.file(&name, jsonl([meta, message]));
    assert_eq!(watching.session(), (format!("codex:{thread}"), 1));
    assert!(watching.stop().is_empty());
}

#[test]
fn a_stop_stores_what_there_is() {
    let world = World::new();
    let path = write(&world, &["a"]);
    let repo = world.repo.clone();
    let watching = Watching::opening(&world, move || Ok(repo.clone()));
    watching.session();
    watching.caught_up();
    append(&path, 1, "b");
    watching.stop();
    assert_eq!(world.history(&task()), ["a", "b"]);
}

#[test]
fn changes_wait_for_a_store_that_fails() {
    let world = World::new();
    let store = world.path("store.db");
    let repo = Repo::open(&store).unwrap();
    let path = write(&world, &["a"]);
    let open = {
        let store = store.clone();
        move || {
            Repo::builder(&store)
                .timeout(Duration::from_millis(500))
                .open()
        }
    };
    let watching = Watching::opening(&world, open);
    assert_eq!(watching.session(), (task(), 1));
    watching.caught_up();
    repo.transaction(|tx| -> Result<()> {
        tx.save_task(&NewTask::new(id("other"), "Other"))?;
        append(&path, 1, "b");
        match watching.next() {
            WatchEvent::StoreLost(error) => assert!(error.is_retryable(), "{error}"),
            event => panic!("{event:?}"),
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(watching.session(), (task(), 1));
    assert!(matches!(watching.next(), WatchEvent::StoreBack));

    // Another store takes the place of the first.
    drop(repo);
    fs::remove_file(&store).unwrap();
    for side in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{side}", store.display()));
    }
    append(&path, 2, "c");
    match watching.next() {
        WatchEvent::StoreLost(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::FileLost { .. }),
                "{error}"
            );
        }
        event => panic!("{event:?}"),
    }
    assert_eq!(watching.session(), (task(), 3));
    assert!(matches!(watching.next(), WatchEvent::StoreBack));
    assert!(watching.stop().is_empty());
}

#[test]
fn a_store_that_cannot_be_opened_ends_the_watch() {
    let world = World::new();
    let store = world.file("store.db", "not a database");
    let options = WatchOptions::new(world.options.clone(), world.options.homes.clone());
    let error = watch(|| Repo::open(&store), &options, &WatchStop::new(), |_| {}).unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}

#[test]
fn a_failure_is_told_once() {
    let world = World::new();
    let odd = "20260203\u{1b}";
    let database = world.goose("goose/sessions/sessions.db", &[(odd, "a")]);
    let repo = world.repo.clone();
    let watching = Watching::opening(&world, move || Ok(repo.clone()));
    let failed = watching.next();
    assert!(matches!(failed, WatchEvent::Failed(_)), "{failed:?}");
    watching.caught_up();
    world.goose("goose/sessions/sessions.db", &[("20260203_1", "a")]);
    assert_eq!(watching.session(), ("goose:20260203_1".into(), 1));
    fs::remove_file(database).unwrap();
    assert!(watching.stop().is_empty());
}

#[test]
fn a_folder_that_cannot_be_searched_is_named() {
    let world = World::new();
    let homes = world.options.homes.clone();
    let mut options = WatchOptions::new(world.options.clone(), homes);
    options.roots = vec![world.file("notes.txt", "no recording")];
    let stop = WatchStop::new();
    let mut events = Vec::new();
    let open = || Ok(world.repo.clone());
    watch(open, &options, &stop, |event| {
        if matches!(event, WatchEvent::CaughtUp) {
            stop.stop();
        }
        if !matches!(event, WatchEvent::Polling(_)) {
            events.push(event);
        }
    })
    .unwrap();
    let [WatchEvent::Failed(_), WatchEvent::CaughtUp] = events.as_slice() else {
        panic!("{events:?}");
    };
}

#[test]
fn a_removed_session_that_goes_on_is_told() {
    let world = World::new();
    let path = write(&world, &["a"]);
    world.import(&path);
    world.repo.remove_task(&id(&task())).unwrap();
    let watching = Watching::of(&world);
    fs::write(&path, going_on()).unwrap();
    match watching.next() {
        WatchEvent::Warning(ImportWarning::GoesOn { task_id, .. }) => {
            assert_eq!(task_id, id(&task()));
        }
        event => panic!("{event:?}"),
    }
    append(&path, 2, "once");
    assert!(watching.stop().is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_out_of_a_home_is_named() {
    let world = World::new();
    fs::create_dir_all(world.path("elsewhere/-srv-app")).unwrap();
    fs::create_dir_all(world.path(".claude")).unwrap();
    let link = world.path(".claude/projects");
    std::os::unix::fs::symlink(world.path("elsewhere"), link).unwrap();
    let repo = world.repo.clone();
    let watching = Watching::opening(&world, move || Ok(repo.clone()));
    match watching.next() {
        WatchEvent::Warning(warning) => {
            assert!(warning.to_string().contains("leads out"), "{warning}")
        }
        event => panic!("{event:?}"),
    }
    watching.caught_up();
    watching.stop();
}

#[test]
fn the_files_beside_a_transcript_are_kept() {
    let world = World::new();
    let path = write(&world, &["a"]);
    let repo = world.repo.clone();
    let watching = Watching::opening(&world, move || Ok(repo.clone()));
    watching.session();
    watching.caught_up();
    let result = format!(".claude/projects/-srv-app/{CLAUDE}/tool-results/1.txt");
    world.file(&result, "a long result");
    match watching.next() {
        WatchEvent::Session(session) => {
            assert_eq!((session.added_turns, session.kept_bytes), (0, 13))
        }
        event => panic!("{event:?}"),
    }
    let kept = world.repo.get_recordings(&id(&task())).unwrap();
    let names: Vec<_> = kept.iter().map(|file| file.name.as_str()).collect();
    let name = |path: &str| path.strip_prefix(".claude/").unwrap().to_owned();
    let transcript = path.strip_prefix(world.path("")).unwrap().to_str().unwrap();
    assert_eq!(names, [name(transcript), name(&result)]);
    watching.stop();
}
