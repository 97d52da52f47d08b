//! The session store of the Claude Agent SDK: `append`, `load`, `list_sessions`, `delete`, `list_subkeys`, and the contract
//! that its own test suite holds an adapter to. An entry is a line of a transcript: any JSON object.

use serde_json::{Value, json};
use turnkeep_repo::{
    MessageKey, Metadata, NewMessage, NewTask, Role, TaskId, TaskQuery, TaskSummary,
};

use crate::support::{Harness, Store};

/// A transcript is a task, an entry is a turn. The content is the entry, since an entry may be larger than metadata.
struct SessionStore<S>(S);

/// The address of a transcript: of a session, or with a subpath of one of its agents.
#[derive(Clone, Copy)]
struct Key<'a> {
    project: &'a str,
    session: &'a str,
    subpath: Option<&'a str>,
}

impl Key<'_> {
    fn task(&self) -> anyhow::Result<TaskId> {
        let key = json!([self.project, self.session, self.subpath]);
        Ok(TaskId::new(key.to_string())?)
    }
}

impl<S: Store> SessionStore<S> {
    /// Appends entries. A repeat after a lost answer is stored once, by the uuid of each entry.
    fn append(&self, key: Key<'_>, entries: &[Value]) -> anyhow::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let task = key.task()?;
        let kind = if key.subpath.is_some() {
            "subagent"
        } else {
            "session"
        };
        let address = json!({"project": key.project, "session": key.session, "kind": kind});
        let name = key.subpath.unwrap_or(key.session);
        let plan = NewTask::new(task.clone(), name).metadata(Metadata::from_serialize(&address)?);
        let messages = entries.iter().map(|entry| {
            let mut message = NewMessage::new(Role::System, entry.to_string());
            message.key = entry["uuid"].as_str().map(MessageKey::new).transpose()?;
            anyhow::Ok(message)
        });
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        self.0.transaction(move |tx| {
            tx.save_task(&plan)?;
            tx.save_missing_messages(&task, &messages)?;
            Ok(())
        })
    }

    /// Returns the entries in order, or `None` for an unknown transcript.
    fn load(&self, key: Key<'_>) -> anyhow::Result<Option<Vec<Value>>> {
        let history = self.0.get_history(&key.task()?)?;
        if history.is_empty() {
            return Ok(None);
        }
        let entries = history
            .iter()
            .map(|turn| serde_json::from_str(&turn.content));
        Ok(Some(entries.collect::<Result<_, _>>()?))
    }

    /// Returns the sessions of a project.
    fn list_sessions(&self, project: &str) -> anyhow::Result<Vec<TaskSummary>> {
        let query = TaskQuery::new().metadata("kind", "session");
        self.list(query.metadata("project", project))
    }

    /// Returns the transcripts of the agents of a session.
    fn list_subkeys(&self, key: Key<'_>) -> anyhow::Result<Vec<TaskSummary>> {
        let query = TaskQuery::new().metadata("kind", "subagent");
        let query = query.metadata("project", key.project);
        self.list(query.metadata("session", key.session))
    }

    /// Deletes a transcript, and with a session the ones of its agents.
    fn delete(&self, key: Key<'_>) -> anyhow::Result<()> {
        let mut tasks = vec![key.task()?];
        if key.subpath.is_none() {
            tasks.extend(self.list_subkeys(key)?.into_iter().map(|task| task.id));
        }
        self.0.transaction(move |tx| {
            for task in &tasks {
                tx.delete_task(task)?;
            }
            Ok(())
        })
    }

    fn list(&self, mut query: TaskQuery) -> anyhow::Result<Vec<TaskSummary>> {
        let mut listed = Vec::new();
        loop {
            let page = self.0.list_tasks(&query)?;
            listed.extend(page.tasks);
            match page.next {
                Some(next) => query = query.after(next),
                None => return Ok(listed),
            }
        }
    }
}

const MAIN: Key<'_> = Key {
    project: "-srv-app",
    session: "6f1d2c3b",
    subpath: None,
};
const AGENT: Key<'_> = Key {
    subpath: Some("subagents/agent-1"),
    ..MAIN
};
const OTHER: Key<'_> = Key {
    project: "-srv-other",
    ..MAIN
};

fn entry(uuid: &str, text: &str) -> Value {
    json!({"type": "user", "uuid": uuid, "message": {"role": "user", "content": text}})
}

fn names(mut listed: Vec<TaskSummary>) -> Vec<String> {
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    listed.into_iter().map(|task| task.name).collect()
}

pub fn appended_entries_are_loaded_in_order<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = SessionStore(place.open()?);
    assert_eq!(store.load(MAIN)?, None);
    store.append(MAIN, &[entry("z", "first"), entry("a", "second\u{0}")])?;
    store.append(MAIN, &[])?;
    store.append(
        MAIN,
        &[json!({"type": "summary", "nested": {"b": [1, 2.5, null], "a": true}})],
    )?;
    let expected = [
        entry("z", "first"),
        entry("a", "second\u{0}"),
        json!({"type": "summary", "nested": {"b": [1, 2.5, null], "a": true}}),
    ];
    assert_eq!(store.load(MAIN)?.as_deref(), Some(&expected[..]));
    Ok(())
}

/// The kit repeats an append that it got no answer to.
pub fn a_repeated_append_is_stored_once<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = SessionStore(place.open()?);
    let entries = [entry("1", "one"), entry("2", "two")];
    store.append(MAIN, &entries[..1])?;
    store.append(MAIN, &entries)?;
    store.append(MAIN, &entries)?;
    assert_eq!(store.load(MAIN)?.as_deref(), Some(&entries[..]));
    Ok(())
}

pub fn an_empty_append_makes_no_transcript<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = SessionStore(place.open()?);
    store.append(MAIN, &[])?;
    assert_eq!(store.load(MAIN)?, None);
    assert!(store.list_sessions(MAIN.project)?.is_empty());
    Ok(())
}

pub fn projects_and_subpaths_are_apart<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = SessionStore(place.open()?);
    for (key, text) in [(MAIN, "main"), (AGENT, "agent"), (OTHER, "other")] {
        store.append(key, &[entry("1", text)])?;
    }
    for (key, text) in [(MAIN, "main"), (AGENT, "agent"), (OTHER, "other")] {
        assert_eq!(store.load(key)?, Some(vec![entry("1", text)]));
    }
    assert_eq!(names(store.list_sessions(MAIN.project)?), [MAIN.session]);
    assert_eq!(names(store.list_subkeys(MAIN)?), ["subagents/agent-1"]);
    assert!(store.list_subkeys(OTHER)?.is_empty());
    assert!(store.list_sessions("-srv-none")?.is_empty());
    Ok(())
}

pub fn delete_takes_the_subpaths_of_a_session<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = SessionStore(place.open()?);
    let second = Key {
        subpath: Some("subagents/agent-2"),
        ..MAIN
    };
    for key in [MAIN, AGENT, second, OTHER] {
        store.append(key, &[entry("1", "text")])?;
    }
    store.delete(AGENT)?;
    assert_eq!(names(store.list_subkeys(MAIN)?), ["subagents/agent-2"]);
    assert!(store.load(MAIN)?.is_some());

    store.delete(MAIN)?;
    store.delete(MAIN)?;
    for key in [MAIN, AGENT, second] {
        assert_eq!(store.load(key)?, None);
    }
    assert!(store.list_subkeys(MAIN)?.is_empty());
    assert!(store.load(OTHER)?.is_some());
    Ok(())
}
