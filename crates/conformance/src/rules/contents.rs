//! Texts and ids, byte for byte.

use turnkeep_repo::{
    BackendType, ErrorKind, MAX_TEXT_BYTES, MessageKey, NewMessage, NewTask, Role, StatusUpdate,
    TaskId,
};

use crate::scene::{binding, contents, open_with_task, save_task};
use crate::{Harness, Store};

/// Any text reads back byte for byte, in messages and in the texts of a task.
pub fn texts_round_trip_byte_for_byte<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let texts = [
        "",
        " ",
        "\n",
        "\r\n\t",
        "\0",
        "before\0after",
        // Escapes that a store may use for U+0000.
        "\u{10}",
        "\u{10}0",
        "\u{10}0 \u{10}\0",
        "\0\u{10}\u{10}0\0",
        "\u{2400}",
        "\\0 \\x00 \\u0000 %00",
        "trailing newline\n",
        "'; DROP TABLE tasks;--",
        "\"double\" 'single' `back` \\backslash\\",
        "%s %d {} ${HOME} $(id)",
        "Ελληνικά, Русский, 中文, 日本語, 한국어, العربية, עברית, ไทย, हिन्दी",
        "e\u{301} \u{e9} \u{202e}right to left\u{202c} \u{feff}",
        "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
        "\u{fffd}\u{ffff}\u{10ffff}",
        "\u{1b}[31mred\u{1b}[0m\u{7}",
        "{\"json\": [1, null]}",
        "123",
        "007",
        "1e400",
        "NULL",
        "true",
        "x'00'",
        "0x10",
        "1970-01-01",
        // Characters that some readers treat as the end of a line or of a text.
        "\u{85}\u{2028}\u{2029}",
        "\u{1a}\u{4}",
        "\u{7f}\u{80}\u{9f}",
        "\u{d7ff}\u{e000}",
    ];
    for text in texts {
        repo.save_message(&task, Role::Tool, text)?;
    }
    drop(repo);
    let repo = store.open()?;
    assert_eq!(contents(&repo, &task)?, texts);

    let copy = save_task(&repo, "copy")?;
    let batch: Vec<_> = texts
        .iter()
        .map(|text| NewMessage::new(Role::User, *text))
        .collect();
    repo.save_messages(&copy, &batch)?;
    assert_eq!(contents(&repo, &copy)?, texts);
    for text in texts {
        let id = TaskId::new("texts")?;
        repo.save_task(
            &NewTask::new(id.clone(), text)
                .prompt(text)
                .agent_role(text)
                .writes_files([text]),
        )?;
        let mut update = StatusUpdate::failed(text);
        update.result = Some(text.into());
        repo.update_task_status(&id, update)?;
        let stored = repo.get_task(&id)?;
        assert_eq!((&*stored.name, &*stored.prompt), (text, text));
        assert_eq!(stored.agent_role.as_deref(), Some(text));
        assert_eq!(stored.result.as_deref(), Some(text));
        assert_eq!(stored.error.as_deref(), Some(text));
        assert_eq!(stored.writes_files, [text]);
    }
    Ok(())
}

/// A message of 50 MB reads back unchanged.
pub fn a_message_of_50_mb_round_trips<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let text = "0123456789abcdef\n".repeat(50 * 1024 * 1024 / 17);
    repo.save_message(&task, Role::Tool, &text)?;
    repo.save_message(&task, Role::User, "after")?;
    drop(repo);
    let history = store.open()?.get_history(&task)?;
    assert!(history[0].content == text, "all of it, unchanged");
    assert_eq!(history[1].content, "after");
    Ok(())
}

/// A text longer than `MAX_TEXT_BYTES` is refused.
pub fn a_text_over_the_limit_is_refused<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let text = "x".repeat(MAX_TEXT_BYTES + 1);
    let error = repo.save_message(&task, Role::Tool, &text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "save_message: invalid content: is 268435457 bytes long, at most 268435456 are allowed"
    );
    assert!(matches!(
        error.kind(),
        ErrorKind::InvalidInput {
            field: "content",
            ..
        }
    ));
    let update = StatusUpdate::failed(text);
    assert!(repo.update_task_status(&task, update).is_err());
    assert_eq!(repo.count_history(&task)?, 0);
    assert_eq!(repo.get_task(&task)?.error, None);
    Ok(())
}

/// Ids are compared byte for byte and are never interpreted as SQL or patterns.
pub fn ids_are_compared_byte_for_byte<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let ids = [
        "a",
        "A",
        "a ",
        " a",
        "a%",
        "a_",
        "%",
        "_",
        "*",
        "?",
        "'",
        "''",
        "\"",
        "`",
        ";",
        "--",
        "/*",
        "\\",
        "NULL",
        "null",
        "0",
        "00",
        "1e0",
        "true",
        "rowid",
        "tasks",
        "'; DROP TABLE tasks;--",
        "' OR '1'='1",
        "a' UNION SELECT 1 --",
        "id\n",
        "\t",
        "é",
        "e\u{301}",
        "а",
        "ａ",
        "ß",
        "ss",
        "İ",
        "i",
        "-x",
        "--db",
        "a/b",
        "../a",
        "a:b",
        "\u{200b}",
        "\u{feff}a",
    ];
    let longest = "é".repeat(256);
    let ids: Vec<&str> = ids.into_iter().chain([longest.as_str()]).collect();
    for id in &ids {
        let task = save_task(&repo, id)?;
        repo.save_message(&task, Role::User, id)?;
        repo.save_session(&task, &binding(BackendType::Goose, id, Some(id))?)?;
    }
    drop(repo);
    let repo = store.open()?;
    assert_eq!(repo.get_tasks()?.len(), ids.len());
    for id in &ids {
        let task = TaskId::new(*id)?;
        assert_eq!(repo.get_task(&task)?.id, task);
        assert_eq!(contents(&repo, &task)?, [*id]);
        assert_eq!(repo.get_session(&task)?.session_id.as_str(), *id);
    }
    let task = TaskId::new("a")?;
    assert!(repo.delete_task(&task)?);
    assert_eq!(
        repo.get_tasks()?.len(),
        ids.len() - 1,
        "only that one is gone"
    );
    assert_eq!(contents(&repo, &TaskId::new("A")?)?, ["A"]);
    Ok(())
}

/// Neither `Debug` output nor an error contains a message text.
pub fn message_texts_are_not_in_debug_or_errors<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let secret = "correct horse battery staple";
    let key = MessageKey::new("k")?;
    let message = NewMessage::new(Role::User, secret).key(key.clone());
    repo.save_messages(&task, &[message])?;
    repo.save_task(&NewTask::new(task.clone(), "A task").prompt(secret))?;
    repo.update_task_status(&task, StatusUpdate::failed(secret))?;
    let other = NewMessage::new(Role::User, format!("{secret}!")).key(key);
    let conflict = repo.save_messages(&task, &[other]).unwrap_err();
    let unknown = repo
        .save_message(&TaskId::new("none")?, Role::User, secret)
        .unwrap_err();
    for shown in [
        format!("{:?}", repo.get_history(&task)?),
        format!("{:?}", repo.get_task(&task)?),
        format!("{repo:?}"),
        format!("{conflict:?} {conflict}"),
        format!("{unknown:?} {unknown}"),
    ] {
        assert!(!shown.contains("horse"), "{shown}");
    }
    Ok(())
}

/// U+0000 is stored in free texts and refused in ids.
pub fn nul_is_valid_in_texts_and_not_in_ids<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for (round, text) in ["\0", "a\0", "\0b", "\u{10}0", "\u{10}\0"]
        .iter()
        .enumerate()
    {
        let key = MessageKey::new(round.to_string())?;
        let message = NewMessage::new(Role::User, *text).key(key.clone());
        let seqs = repo.save_messages(&task, std::slice::from_ref(&message))?;
        assert_eq!(
            repo.save_messages(&task, &[message])?,
            seqs,
            "the same turn"
        );
        let cut = NewMessage::new(Role::User, text.replace('\0', "")).key(key);
        let cut = repo.save_messages(&task, &[cut]);
        assert_eq!(cut.is_err(), text.contains('\0'), "something else");

        let session = binding(BackendType::Claude, "s", None)?;
        let session = repo.save_session(&task, &session)?;
        assert!(repo.retire_session(&task, &session.session_id, text)?);
        let revisions = repo.list_session_revisions(&task)?;
        assert_eq!(revisions[round].retired_reason.as_deref(), Some(*text));
    }
    assert!(TaskId::new("a\0").is_err());
    assert!(MessageKey::new("a\0").is_err());
    Ok(())
}
