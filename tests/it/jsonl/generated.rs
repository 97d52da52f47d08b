//! Stores that nobody thought of.

use std::collections::BTreeMap;

use anyhow::anyhow;
use chrono::DateTime;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use turnkeep_repo::{
    ConfigDir, FailureMode, InvalidValue, MessageKey, Metadata, NewMessage, NewTask, Repo, Role,
    StatusUpdate, TaskId, TaskStatus, WorkerId,
};

use super::{export, import};
use crate::copy::{Place, from_each_to_each};
use crate::support::binding;

from_each_to_each![an_export_of_an_import_is_the_same_text];

#[derive(Debug, Clone)]
struct Made {
    id: String,
    /// Name, prompt, role, result, a file.
    texts: [String; 5],
    is_filled: bool,
    status: TaskStatus,
    failure_mode: FailureMode,
    /// Which of the tasks before it are waited for.
    depends_on: Vec<prop::sample::Index>,
    /// Bindings: session, both folders, a value in metadata, and whether each is retired.
    bindings: Vec<(u8, Option<String>, Option<String>, bool)>,
    turns: Vec<(Role, String, i64, bool)>,
    is_claimed: bool,
}

/// Any text, with more of what has to be escaped than there would be by chance.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\u{0}\u{10}0\"\\\\\n\u{7f}\u{2028}é🦀]{0,8}",
        Just(String::new()),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    let bindings = prop::collection::vec(
        (
            0..3u8,
            prop::option::of("/[a-zü ]{1,4}"),
            prop::option::of(text()),
            any::<bool>(),
        ),
        0..4,
    );
    let micros = -62_167_219_200_000_000..253_402_300_800_000_000i64;
    let role = prop::sample::select(Role::ALL);
    let turns = prop::collection::vec((role, text(), micros, any::<bool>()), 0..6);
    (
        "[a-c'%_ü✓ \u{1}]{1,3}",
        [text(), text(), text(), text(), text()],
        any::<bool>(),
        prop::sample::select(TaskStatus::ALL),
        prop::sample::select(FailureMode::ALL),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        bindings,
        turns,
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(
                id,
                texts,
                is_filled,
                status,
                failure_mode,
                depends_on,
                bindings,
                turns,
                is_claimed,
            )| Made {
                id,
                texts,
                is_filled,
                status,
                failure_mode,
                depends_on,
                bindings,
                turns,
                is_claimed,
            },
        )
}

/// An object with the text, without the character that no object may have.
fn metadata(text: &str) -> Result<Metadata, InvalidValue> {
    Metadata::from_serialize(&BTreeMap::from([("k", text.replace('\0', ""))]))
}

fn make(repo: &Repo, all: &[Made]) -> anyhow::Result<()> {
    let mut ids: Vec<TaskId> = Vec::new();
    for made in all {
        let id = TaskId::new(made.id.as_str())?;
        if ids.contains(&id) {
            continue;
        }
        let [name, prompt, role, result, file] = &made.texts;
        let mut task = NewTask::new(id.clone(), name.as_str())
            .prompt(prompt.as_str())
            .failure_mode(made.failure_mode)
            .status(made.status);
        if made.is_filled {
            task = task.agent_role(role.as_str()).writes_files([file, prompt]);
            task.metadata = Some(metadata(result)?);
        }
        if !ids.is_empty() {
            let depends_on = made.depends_on.iter().map(|index| index.get(&ids).clone());
            task = task.depends_on(depends_on);
        }
        repo.save_task(&task)?;
        if made.is_filled {
            let mut update = StatusUpdate::from(made.status);
            update.result = Some(result.clone());
            repo.update_task_status(&id, update)?;
        }
        for (session, dir, value, is_retired) in &made.bindings {
            let session = session.to_string();
            let mut new = binding("any".parse()?, &session, dir.as_deref())?;
            new.config_dir = dir.as_deref().map(ConfigDir::new).transpose()?;
            new.metadata = value.as_deref().map(metadata).transpose()?;
            repo.save_session(&id, &new)?;
            if *is_retired {
                repo.retire_session(&id, &session.parse()?, role)?;
            }
        }
        let mut said = Vec::new();
        for (number, (role, content, micros, has_key)) in made.turns.iter().enumerate() {
            let time = DateTime::from_timestamp_micros(*micros).expect("a time");
            let mut message = NewMessage::new(*role, content.as_str()).timestamp(time);
            if number % 2 == 0 {
                message.metadata = Some(metadata(content)?);
            }
            if *has_key {
                message.key = Some(MessageKey::new(
                    format!("{number}{content}").replace('\0', ""),
                )?);
            }
            said.push(message);
        }
        repo.save_messages(&id, &said)?;
        if made.is_claimed {
            let lease = std::time::Duration::from_secs(60);
            repo.claim_ready(&WorkerId::new("wörker")?, 1, lease)?;
        }
        ids.push(id);
    }
    Ok(())
}

fn an_export_of_an_import_is_the_same_text(from: &Place, to: &Place) -> anyhow::Result<()> {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let (source, destination) = (from.open()?, to.open()?);
    let result = runner.run(&prop::collection::vec(made(), 0..8), |all| {
        for repo in [&source, &destination] {
            for task in repo.get_tasks().unwrap() {
                repo.delete_task(&task.id).unwrap();
            }
        }
        make(&source, &all).unwrap();
        let text = export(&source).unwrap();
        let done = import(&destination, &text).unwrap();
        prop_assert_eq!(done.tasks, source.get_tasks().unwrap().len() as u64);
        prop_assert_eq!(&export(&destination).unwrap(), &text);
        prop_assert_eq!(to.rows().unwrap(), from.rows().unwrap());
        Ok(())
    });
    result.map_err(|error| anyhow!("{error}"))
}
