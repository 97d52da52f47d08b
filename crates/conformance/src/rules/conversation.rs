//! Which session said a turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use turnkeep_repo::{BackendType, Conversation, Role, TaskId};

use crate::scene::{binding, open_with_task, place};
use crate::{Harness, Store};

/// Returns the session of each turn.
fn sessions(conversation: &Conversation) -> Vec<Option<&str>> {
    let turns = conversation.turns.iter();
    let revisions = turns.map(|turn| conversation.revision_of(turn.seq));
    revisions
        .map(|revision| revision.map(|it| it.session_id.as_str()))
        .collect()
}

/// Before the first binding, under one that is saved again, after it was replaced, twice without a turn between,
/// after it was retired, and under the same one again.
pub fn each_turn_has_the_session_that_said_it<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let say = || repo.save_message(&task, Role::Assistant, "said");
    let bind =
        |session| repo.save_session(&task, &binding(BackendType::Codex, session, None).unwrap());
    say()?;
    bind("a")?;
    say()?;
    bind("a")?;
    say()?;
    bind("unused")?;
    bind("b")?;
    say()?;
    repo.retire_session(&task, &"b".parse()?, "over")?;
    say()?;
    bind("a")?;
    say()?;
    let conversation = repo.get_conversation(&task)?;
    assert_eq!(conversation.turns, repo.get_history(&task)?);
    assert_eq!(conversation.revisions, repo.list_session_revisions(&task)?);
    let expected = [None, Some("a"), Some("a"), Some("b"), Some("b"), Some("a")];
    assert_eq!(sessions(&conversation), expected);
    let revision = |seq| {
        let revision = conversation.revision_of(place(seq).unwrap());
        revision.map(|it| it.revision.get())
    };
    assert_eq!(
        (revision(2), revision(4), revision(6)),
        (Some(1), Some(3), Some(4))
    );
    assert_eq!(revision(7), Some(4), "of the next turn");

    // A hidden turn is no longer among them, and moves no binding.
    repo.hide_after(&task, place(3))?;
    say()?;
    let conversation = repo.get_conversation(&task)?;
    assert_eq!(
        sessions(&conversation),
        [None, Some("a"), Some("a"), Some("a")]
    );

    let early = crate::scene::save_task(&repo, "early")?;
    repo.save_session(&early, &binding(BackendType::Claude, "first", None)?)?;
    repo.save_message(&early, Role::User, "said")?;
    assert_eq!(sessions(&repo.get_conversation(&early)?), [Some("first")]);
    assert_eq!(
        repo.get_conversation(&TaskId::new("none")?)?,
        Conversation::default()
    );
    Ok(())
}

/// Each round binds a session and says two turns under it: no turn is there without its binding.
pub fn a_conversation_is_of_one_moment<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = store.open()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in [&repo, &other] {
            let (task, done) = (&task, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let conversation = reader.get_conversation(task).unwrap();
                    for turn in &conversation.turns {
                        let revision = conversation.revision_of(turn.seq).unwrap();
                        assert_eq!(revision.session_id.as_str(), turn.content);
                    }
                    // A later binding has no turn yet.
                    let turns = conversation.turns.len();
                    let rounds = conversation.revisions.len();
                    assert!(turns <= 2 * rounds && 2 * rounds <= turns + 2);
                }
            });
        }
        let written = scope.spawn(|| {
            for round in 0..20 {
                let session = format!("s{round}");
                let binding = binding(BackendType::Codex, &session, None).unwrap();
                repo.save_session(&task, &binding).unwrap();
                for _ in 0..2 {
                    repo.save_message(&task, Role::User, &session).unwrap();
                }
            }
        });
        let written = written.join();
        done.store(true, Ordering::Relaxed);
        written.unwrap();
    });
    Ok(())
}
