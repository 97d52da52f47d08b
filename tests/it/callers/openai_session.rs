//! The session of the OpenAI Agents SDK: `get_items`, `add_items`, `pop_item`, `clear_session`. An item is any JSON object
//! of the model's input: a message, a call of a tool, its output.

use serde_json::{Value, json};
use turnkeep_repo::{Metadata, NewMessage, NewTask, Role, TaskId};

use crate::support::{Harness, Store};

/// A session is a task, an item is a turn: its text for people, and the whole item as metadata.
struct Session<S> {
    repo: S,
    task: TaskId,
}

impl<S: Store> Session<S> {
    fn new(repo: &S, session_id: &str) -> anyhow::Result<Self> {
        let (repo, task) = (repo.clone(), TaskId::new(session_id)?);
        repo.save_task(&NewTask::new(task.clone(), "A session"))?;
        Ok(Self { repo, task })
    }

    /// Returns the items, or the last ones, the oldest first.
    fn get_items(&self, limit: Option<u32>) -> anyhow::Result<Vec<Value>> {
        let turns = match limit {
            None => self.repo.get_history(&self.task)?,
            Some(limit) => self.repo.get_history_last(&self.task, limit)?,
        };
        let items = turns.iter().filter_map(|turn| turn.metadata.as_ref());
        Ok(items.map(Metadata::deserialize).collect::<Result<_, _>>()?)
    }

    fn add_items(&self, items: &[Value]) -> anyhow::Result<()> {
        let messages = items.iter().map(|item| {
            let role = item["role"].as_str().map_or(Ok(Role::Tool), str::parse)?;
            let text = item["content"].as_str().unwrap_or_default();
            anyhow::Ok(NewMessage::new(role, text).metadata(Metadata::from_serialize(item)?))
        });
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        self.repo.save_messages(&self.task, &messages)?;
        Ok(())
    }

    /// Removes the last item and returns it. It is hidden, and can still be seen on request.
    fn pop_item(&self) -> anyhow::Result<Option<Value>> {
        let task = self.task.clone();
        self.repo.transaction(move |tx| {
            let mut turns = tx.get_history_last(&task, 2)?;
            let last = turns.pop();
            tx.hide_after(&task, turns.pop().map(|turn| turn.seq))?;
            let item = last.and_then(|turn| turn.metadata);
            Ok(item.map(|item| item.deserialize()).transpose()?)
        })
    }

    fn clear_session(&self) -> anyhow::Result<()> {
        self.repo.hide_after(&self.task, None)?;
        Ok(())
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

pub fn items_are_returned_in_order<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let session = Session::new(&place.open()?, "conversation_123")?;
    let items = [
        message("user", "What city is the Golden Gate Bridge in?"),
        json!({"type": "function_call", "name": "search", "arguments": "{\"q\":\"bridge\"}", "call_id": "c1"}),
        json!({"type": "function_call_output", "call_id": "c1", "output": "San Francisco"}),
        message("assistant", "San Francisco"),
    ];
    session.add_items(&items[..1])?;
    session.add_items(&items[1..])?;
    assert_eq!(session.get_items(None)?, items);
    Ok(())
}

pub fn a_limit_returns_the_latest_in_order<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let session = Session::new(&place.open()?, "limited")?;
    let items: Vec<Value> = (0..6)
        .map(|n| message("user", &format!("Message {n}")))
        .collect();
    session.add_items(&items)?;
    assert_eq!(session.get_items(Some(2))?, items[4..]);
    assert_eq!(session.get_items(Some(100))?, items);
    assert!(session.get_items(Some(0))?.is_empty());
    Ok(())
}

pub fn no_items_are_added<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let session = Session::new(&place.open()?, "empty")?;
    session.add_items(&[])?;
    assert!(session.get_items(None)?.is_empty());
    assert_eq!(session.pop_item()?, None);
    session.clear_session()?;
    Ok(())
}

pub fn pop_item_removes_the_latest<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let session = Session::new(&place.open()?, "popped")?;
    let items = [
        message("user", "Hello"),
        message("assistant", "Hi"),
        message("user", "Wrong"),
    ];
    session.add_items(&items)?;
    assert_eq!(session.pop_item()?.as_ref(), Some(&items[2]));
    assert_eq!(session.get_items(None)?, items[..2]);

    // The corrected question goes on after the answer.
    let right = message("user", "Right");
    session.add_items(std::slice::from_ref(&right))?;
    assert_eq!(
        session.get_items(Some(2))?,
        [items[1].clone(), right.clone()]
    );
    for expected in [&right, &items[1], &items[0]] {
        assert_eq!(session.pop_item()?.as_ref(), Some(expected));
    }
    assert_eq!(session.pop_item()?, None);
    Ok(())
}

pub fn clear_session_removes_all_items<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    let (session, other) = (Session::new(&repo, "one")?, Session::new(&repo, "two")?);
    for session in [&session, &other] {
        session.add_items(&[message("user", "Hello"), message("assistant", "Hi")])?;
    }
    session.clear_session()?;
    assert!(session.get_items(None)?.is_empty());
    assert_eq!(other.get_items(None)?.len(), 2, "sessions are apart");
    let again = message("user", "Hello again");
    session.add_items(std::slice::from_ref(&again))?;
    assert_eq!(session.get_items(None)?, [again]);
    Ok(())
}

/// The same items may be in a session many times, with any text of any script.
pub fn equal_items_are_all_kept<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let session = Session::new(&place.open()?, "equal")?;
    let items = vec![message("user", "'; DROP TABLE tasks; -- \u{1f600}\n\"quoted\""); 3];
    session.add_items(&items)?;
    assert_eq!(session.get_items(None)?, items);
    Ok(())
}

/// An item with U+0000 can't be metadata on every engine: it is refused, and nothing of the call is stored.
pub fn an_item_with_nul_is_refused<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let session = Session::new(&place.open()?, "nul")?;
    let refused = session.add_items(&[message("user", "fine"), message("user", "a\0b")]);
    assert!(refused.is_err());
    assert!(session.get_items(None)?.is_empty());
    Ok(())
}
