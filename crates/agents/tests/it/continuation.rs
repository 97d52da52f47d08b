//! Sessions that go on under a new id, as in versions 1 of Claude Code.

use serde_json::{Value, json};
use turnkeep_repo::chrono::{DateTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use turnkeep_repo::{BackendType, Metadata, NewSession, NewTask, SessionId};

use crate::support::{CLAUDE, World, id, jsonl};

const SECOND: &str = "7f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f61";
const THIRD: &str = "8f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f62";

/// A transcript of turns 1, 2, …: a prompt and an answer each.
struct Transcript {
    session: &'static str,
    version: &'static str,
    /// The number of turns that the resume has copied.
    copied: i64,
    /// The number of all turns.
    turns: i64,
    /// A time after any binding that a test saves, or before.
    start: DateTime<Utc>,
    /// Whether copied prompts have their old ids.
    keeps_ids: bool,
}

impl Transcript {
    fn new(session: &'static str, copied: i64, turns: i64) -> Self {
        Self {
            session,
            version: "1.0.56",
            copied,
            turns,
            start: Utc.with_ymd_and_hms(2999, 2, 3, 10, 0, 0).unwrap(),
            keeps_ids: false,
        }
    }

    fn lines(&self) -> String {
        let lines = (1..=self.turns).flat_map(|turn| {
            let is_copied = turn <= self.copied;
            // The copies have the time of the resume.
            let at = |half: i64| match is_copied {
                true => 10 * self.copied + 5,
                false => 10 * turn + half,
            };
            let uuid = match is_copied && !self.keeps_ids {
                true => format!("{}-{turn}", self.session),
                false => format!("uuid-{turn}"),
            };
            let content = match is_copied {
                true => json!([{"type": "text", "text": "Go on."}]),
                false => json!("Go on."),
            };
            let prompt = json!({"role": "user", "content": content});
            let answer = json!({"role": "assistant", "id": format!("msg_{turn}"), "model": "m",
                "content": [{"type": "text", "text": format!("answer {turn}")}]});
            [
                self.line("user", &uuid, at(6), &prompt),
                self.line("assistant", &format!("{uuid}-a"), at(7), &answer),
            ]
        });
        jsonl(lines)
    }

    fn line(&self, kind: &str, uuid: &str, micros: i64, message: &Value) -> Value {
        let time = self.start + TimeDelta::microseconds(micros);
        json!({
            "type": kind, "uuid": uuid, "sessionId": self.session, "cwd": "/srv/app", "message": message,
            "version": self.version, "timestamp": time.to_rfc3339_opts(SecondsFormat::Micros, true),
        })
    }

    fn write(&self, world: &World) {
        let path = format!(".claude/projects/-srv-app/{}.jsonl", self.session);
        world.file(&path, self.lines());
    }
}

fn write(world: &World, session: &'static str, copied: i64, turns: i64) {
    Transcript::new(session, copied, turns).write(world);
}

/// Returns the tasks and the number of their new turns, in order of the tasks.
fn import(world: &World) -> Vec<(String, i64)> {
    let imported = world.import(world.path(".claude"));
    let tasks = imported.tasks().into_iter();
    let mut tasks: Vec<_> = tasks
        .map(|(task, added)| (task.to_owned(), added))
        .collect();
    tasks.sort();
    tasks
}

/// Binds a task to a session, as an orchestrator would.
fn bind(world: &World, session: &str) {
    let task = NewTask::new(id("t"), "Task");
    world.repo.save_task(&task).unwrap();
    let session = SessionId::new(session).unwrap();
    let binding = NewSession::new(BackendType::Claude, session);
    let binding = binding.metadata(Metadata::new(r#"{"model":"opus"}"#).unwrap());
    world.repo.save_session(&id("t"), &binding).unwrap();
}

fn session(world: &World, task: &str) -> String {
    world.session(task).session_id.to_string()
}

fn of(session: &str) -> String {
    format!("claude:{session}")
}

fn conversation(turns: i64) -> Vec<String> {
    let turns = 1..=turns;
    let turns = turns.flat_map(|turn| ["Go on.".to_owned(), format!("answer {turn}")]);
    turns.collect()
}

#[test]
fn a_resume_under_a_new_id_is_a_new_binding_of_the_task() {
    for keeps_ids in [false, true] {
        let world = World::new();
        bind(&world, CLAUDE);
        write(&world, CLAUDE, 0, 2);
        assert_eq!(import(&world), [("t".into(), 4)]);
        let copy = Transcript {
            keeps_ids,
            ..Transcript::new(SECOND, 2, 3)
        };
        copy.write(&world);
        assert_eq!(import(&world), [("t".into(), 0), ("t".into(), 2)]);
        assert_eq!(world.history("t"), conversation(3));
        let current = world.session("t");
        assert_eq!(current.session_id.as_str(), SECOND);
        assert_eq!(current.metadata.unwrap().as_str(), r#"{"model":"opus"}"#);
        assert_eq!(current.working_dir.unwrap().as_str(), "/srv/app");
        // A repeated import changes nothing.
        assert_eq!(import(&world), [("t".into(), 0), ("t".into(), 0)]);
        assert_eq!(world.session("t").session_id.as_str(), SECOND);
        assert_eq!(world.repo.get_tasks().unwrap().len(), 1);
    }
}

#[test]
fn several_resumes_are_one_task_in_any_order_of_names() {
    for (first, second, third) in [(CLAUDE, SECOND, THIRD), (THIRD, SECOND, CLAUDE)] {
        let world = World::new();
        write(&world, first, 0, 1);
        write(&world, second, 1, 2);
        write(&world, third, 2, 3);
        let task = of(first);
        let added = import(&world).into_iter();
        assert_eq!(added.map(|(of, _)| of).collect::<Vec<_>>(), [&*task; 3]);
        assert_eq!(world.history(&task), conversation(3));
        assert_eq!(session(&world, &task), third);
    }
}

/// The first one is imported, and so bound, after the second began.
#[test]
fn several_resumes_after_the_task_was_bound_are_its_bindings() {
    let world = World::new();
    bind(&world, CLAUDE);
    let start = world.session("t").updated_at;
    for (session, copied) in [(CLAUDE, 0), (SECOND, 1), (THIRD, 2)] {
        let transcript = Transcript {
            start,
            ..Transcript::new(session, copied, copied + 1)
        };
        transcript.write(&world);
    }
    import(&world);
    assert_eq!(world.history("t"), conversation(3));
    assert_eq!(session(&world, "t"), THIRD);
}

#[test]
fn a_copy_of_a_session_that_went_on_is_a_task_of_its_own() {
    let world = World::new();
    write(&world, CLAUDE, 0, 3);
    write(&world, SECOND, 1, 2);
    assert_eq!(import(&world), [(of(CLAUDE), 6), (of(SECOND), 4)]);
    assert_eq!(session(&world, &of(CLAUDE)), CLAUDE);
    assert_eq!(world.history(&of(CLAUDE)), conversation(3));
}

/// Version 2 keeps the id, so somebody asked for the copy.
#[test]
fn a_fork_of_version_2_is_a_task_of_its_own() {
    let world = World::new();
    write(&world, CLAUDE, 0, 1);
    let fork = Transcript {
        version: "2.0.5",
        keeps_ids: true,
        ..Transcript::new(SECOND, 1, 2)
    };
    fork.write(&world);
    assert_eq!(import(&world), [(of(CLAUDE), 2), (of(SECOND), 4)]);
    assert_eq!(session(&world, &of(CLAUDE)), CLAUDE);
}

/// The copy is written before the new words.
#[test]
fn a_copy_in_which_nothing_was_said_waits() {
    let world = World::new();
    write(&world, CLAUDE, 0, 1);
    write(&world, SECOND, 1, 1);
    assert_eq!(import(&world), [(of(CLAUDE), 2)]);
    write(&world, SECOND, 1, 2);
    assert_eq!(import(&world), [(of(CLAUDE), 0), (of(CLAUDE), 2)]);
    assert_eq!(session(&world, &of(CLAUDE)), SECOND);
}

#[test]
fn a_task_that_somebody_bound_elsewhere_or_later_keeps_its_binding() {
    let later = Transcript::new(CLAUDE, 0, 1).start;
    let before = Utc.with_ymd_and_hms(2026, 2, 3, 10, 0, 0).unwrap();
    for (rebound, start) in [(THIRD, later), (CLAUDE, before)] {
        let world = World::new();
        bind(&world, CLAUDE);
        let transcript = |session, copied, turns| Transcript {
            start,
            ..Transcript::new(session, copied, turns)
        };
        transcript(CLAUDE, 0, 1).write(&world);
        import(&world);
        bind(&world, rebound);
        transcript(SECOND, 1, 2).write(&world);
        assert_eq!(import(&world), [(of(SECOND), 4), ("t".into(), 0)]);
        assert_eq!(session(&world, "t"), rebound);
    }
    let world = World::new();
    bind(&world, CLAUDE);
    write(&world, CLAUDE, 0, 1);
    import(&world);
    let session = SessionId::new(CLAUDE).unwrap();
    let retired = world.repo.retire_session(&id("t"), &session, "gone");
    assert!(retired.unwrap());
    write(&world, SECOND, 1, 2);
    assert_eq!(import(&world), [(of(SECOND), 4), ("t".into(), 0)]);
}

/// A repository may have a folder like a home, whose working folder a resume would go to.
#[test]
fn a_copy_in_another_home_is_a_task_of_its_own() {
    let world = World::new();
    write(&world, CLAUDE, 0, 1);
    import(&world);
    let other = format!("repository/.claude/projects/-srv-app/{SECOND}.jsonl");
    let other = world.file(&other, Transcript::new(SECOND, 1, 2).lines());
    assert_eq!(world.import(other).tasks(), [(&*of(SECOND), 4)]);
    assert_eq!(session(&world, &of(CLAUDE)), CLAUDE);
}
