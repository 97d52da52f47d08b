//! Which turns a query finds.

use anyhow::Result;
use proptest::prelude::*;
use turnkeep_repo::chrono::{DateTime, TimeDelta, Utc};
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, Repo, Role, SessionId, TaskId, TaskOrder, TaskQuery,
    WorkingDir,
};
use turnkeep_search::{Error, Index, Query};

use crate::support::{Scene, highlights, on_each_engine, places, say};

on_each_engine!(
    words_phrases_prefixes_and_exclusions,
    each_filter_leaves_turns_out,
    hidden_turns_are_not_found,
);

fn words_phrases_prefixes_and_exclusions(scene: &Scene) -> Result<()> {
    scene.say(
        "t",
        &[
            "Why does the login fail?",
            "The login fails after the logout.",
            "fail the login",
            "call save_message, not saveMessage",
        ],
    )?;
    for (words, expected) in [
        ("login", &["t:1", "t:2", "t:3"][..]),
        ("LOGIN Fail", &["t:1", "t:3"]),
        ("\"login fail\"", &["t:1"]),
        ("fail*", &["t:1", "t:2", "t:3"]),
        ("login -logout", &["t:1", "t:3"]),
        ("login -\"login fail\" -logout", &["t:3"]),
        ("login -fail*", &[]),
        ("save_message", &["t:4"]),
        ("save message", &["t:4"]),
        ("\"message not\"", &["t:4"]),
        ("login OR logout", &[]),
        ("body:login", &[]),
    ] {
        assert_eq!(scene.places(words)?, expected, "{words}");
    }
    Ok(())
}

#[test]
fn words_of_any_language() -> Result<()> {
    let scene = Scene::new()?;
    scene.say(
        "t",
        &[
            "検索機能を実装しました",
            "这个函数有问题",
            "사과를 먹었다",
            "ประเทศไทย",
            "Crème brûlée",
            "Cre\u{300}me bru\u{302}le\u{301}e",
            "हिन्दी",
            "ПРИВЕТ мир",
        ],
    )?;
    for (words, expected) in [
        ("検索", &["t:1"][..]),
        ("機能を", &["t:1"]),
        ("能機", &[]),
        ("函数", &["t:2"]),
        ("사과", &["t:3"]),
        ("ไทย", &["t:4"]),
        ("creme brulee", &["t:5", "t:6"]),
        ("crème", &["t:5", "t:6"]),
        ("हिन्दी", &["t:7"]),
        ("привет", &["t:8"]),
    ] {
        assert_eq!(scene.places(words)?, expected, "{words}");
    }
    let hits = scene.hits(Query::new("機能"))?;
    assert_eq!(
        (highlights(&hits[0]), &*hits[0].passage.text),
        (vec!["機能"], "検索機能を実装しました")
    );
    Ok(())
}

fn each_filter_leaves_turns_out(scene: &Scene) -> Result<()> {
    let at = |hours| DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
    for (name, backend, folder) in [
        ("a", BackendType::Claude, "/home/me/web"),
        ("b", BackendType::Codex, "/home/me/web/api"),
        ("c", BackendType::Codex, "/home/me/webshop"),
    ] {
        let task = scene.say(name, &[])?;
        let session = NewSession::new(backend, SessionId::new(name)?);
        scene
            .repo
            .save_session(&task, &session.working_dir(WorkingDir::new(folder)?))?;
        scene.repo.save_messages(
            &task,
            &[
                NewMessage::new(Role::User, "the needle").timestamp(at(1)),
                NewMessage::new(Role::Assistant, "the needle").timestamp(at(2)),
            ],
        )?;
    }
    let all = Query::new("needle");
    for (query, expected) in [
        (all.clone(), &["a:1", "a:2", "b:1", "b:2", "c:1", "c:2"][..]),
        (all.clone().backend(BackendType::Claude), &["a:1", "a:2"]),
        (
            all.clone().folders([WorkingDir::new("/home/me/web/")?]),
            &["a:1", "a:2", "b:1", "b:2"],
        ),
        (
            all.clone()
                .folders([WorkingDir::new("/")?])
                .task(TaskId::new("c")?),
            &["c:1", "c:2"],
        ),
        (all.clone().role(Role::Assistant), &["a:2", "b:2", "c:2"]),
        (all.clone().since(at(2)), &["a:2", "b:2", "c:2"]),
        (all.clone().until(at(2)), &["a:1", "b:1", "c:1"]),
        (all.clone().limit(0), &[]),
    ] {
        assert_eq!(places(&scene.hits(query.clone())?), expected, "{query:?}");
    }
    Ok(())
}

/// The same folders as in a list of the store.
#[test]
fn a_folder_has_those_below_it() -> Result<()> {
    let scene = Scene::new()?;
    let dirs = [
        "/", "/a", "/a/b", "/a\\b", "/ab", "C:\\a\\b", "C:\\ab", "\\x",
    ];
    for (number, dir) in dirs.into_iter().enumerate() {
        let task = scene.say(&number.to_string(), &["needle"])?;
        let session = NewSession::new(BackendType::Claude, SessionId::new("s")?);
        let session = session.working_dir(WorkingDir::new(dir)?);
        scene.repo.save_session(&task, &session)?;
    }
    for folders in [
        &["/"][..],
        &["/a"],
        &["/a/"],
        &["/a\\"],
        &["/a\\b"],
        &["C:\\a"],
        &["C:\\"],
        &["/a/b", "C:\\ab"],
    ] {
        let folders = folders.iter().copied().map(WorkingDir::new);
        let folders = folders.collect::<Result<Vec<_>, _>>()?;
        let hits = scene.hits(Query::new("needle").folders(folders.clone()))?;
        let mut found: Vec<_> = hits.into_iter().map(|hit| hit.task_id).collect();
        found.sort();
        let query = TaskQuery::new()
            .order(TaskOrder::Id)
            .folders(folders.clone());
        let listed = scene.repo.list_tasks(&query)?.tasks;
        let listed: Vec<_> = listed.into_iter().map(|task| task.id).collect();
        assert_eq!(found, listed, "{folders:?}");
    }
    Ok(())
}

#[test]
fn better_turns_come_first_and_of_equal_ones_the_latest() -> Result<()> {
    let scene = Scene::new()?;
    let filler = "other words of some length ".repeat(40);
    let long = format!("needle {filler}");
    scene.say("t", &[&long, "a needle", "a needle", &filler, &filler])?;
    let hits = scene.hits(Query::new("needle"))?;
    assert_eq!(
        hits.iter().map(|hit| hit.seq.get()).collect::<Vec<_>>(),
        [3, 2, 1]
    );
    let best = scene.hits(Query::new("needle").limit(1))?;
    assert_eq!(best, hits[..1]);
    Ok(())
}

/// More than 20,000 turns are not ranked.
#[test]
fn of_very_many_turns_the_latest_come_first() -> Result<()> {
    let scene = Scene::new()?;
    let task = scene.say("t", &["needle"])?;
    let mut turns = vec![NewMessage::new(Role::User, "a needle with more words"); 19_999];
    scene.repo.save_messages(&task, &turns)?;
    // A word in more than half of all turns has no rank.
    let others = vec![NewMessage::new(Role::User, "x"); 25_000];
    scene.repo.save_messages(&scene.say("u", &[])?, &others)?;
    let first = |query| anyhow::Ok(scene.hits(query)?[0].seq.get());
    let needle = Query::new("needle").limit(1);
    assert_eq!(first(needle.clone())?, 1);
    turns.truncate(1);
    scene.repo.save_messages(&task, &turns)?;
    assert_eq!(first(needle.clone())?, 20_001);
    assert_eq!(
        first(needle.until(scene.repo.get_history_last(&task, 1)?[0].timestamp))?,
        1
    );
    Ok(())
}

#[test]
fn a_hit_tells_where_it_was_said() -> Result<()> {
    let scene = Scene::new()?;
    let task = scene.say("t", &["one", "line\none needle\nmore"])?;
    let session = NewSession::new(BackendType::Codex, SessionId::new("s")?);
    scene
        .repo
        .save_session(&task, &session.working_dir(WorkingDir::new("/w")?))?;
    let hits = scene.hits(Query::new("needle"))?;
    let turn = &scene.repo.get_history(&task)?[1];
    let [hit] = &hits[..] else { panic!("{hits:?}") };
    assert_eq!(
        (&hit.task_id, &*hit.name, hit.seq, hit.role),
        (&task, "The task t", turn.seq, Role::User)
    );
    assert_eq!(hit.timestamp, turn.timestamp);
    assert_eq!(
        (&hit.backend_type, &hit.working_dir),
        (&Some(BackendType::Codex), &Some(WorkingDir::new("/w")?))
    );
    assert_eq!(
        (&hit.passage.text, highlights(hit)),
        (&turn.content, vec!["needle"])
    );
    Ok(())
}

fn hidden_turns_are_not_found(scene: &Scene) -> Result<()> {
    let task = scene.say("t", &["needle"; 60])?;
    scene.index.update()?;
    scene
        .repo
        .hide_after(&task, turnkeep_repo::Seq::new(2).ok())?;
    assert_eq!(scene.places("needle")?, ["t:1", "t:2"]);
    scene.say("t", &["needle"])?;
    assert_eq!(scene.places("needle")?, ["t:1", "t:2", "t:61"]);
    assert_eq!(scene.hits(Query::new("needle").limit(2))?.len(), 2);
    Ok(())
}

#[test]
fn a_query_without_a_word_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    for words in ["", "->", "-login"] {
        let error = scene.index.search(&Query::new(words)).unwrap_err();
        assert!(
            matches!(error, Error::InvalidQuery { .. }) && !error.is_retryable(),
            "{error}"
        );
    }
    Ok(())
}

#[test]
fn many_words_are_no_error() -> Result<()> {
    let scene = Scene::new()?;
    scene.say("t", &["a needle"])?;
    assert_eq!(scene.places(&"a ".repeat(2_000))?, ["t:1"]);
    assert_eq!(
        scene.places(&format!("needle{}", " -x".repeat(1_300)))?,
        ["t:1"]
    );
    assert_eq!(scene.places(&"日".repeat(1_365))?, [""; 0]);
    Ok(())
}

#[test]
fn a_long_turn_has_a_short_passage() -> Result<()> {
    let scene = Scene::new()?;
    let filler = "filler ".repeat(100_000);
    scene.say(
        "t",
        &[
            &format!("{filler}needle {filler}"),
            &format!("{filler}{filler}haystack"),
        ],
    )?;
    let hits = scene.hits(Query::new("needle"))?;
    assert_eq!(highlights(&hits[0]), ["needle"]);
    assert!(
        hits[0].passage.text.len() < 300 && !hits[0].passage.is_start && !hits[0].passage.is_end
    );
    let beyond = scene.hits(Query::new("haystack"))?;
    assert!(beyond[0].passage.highlights.is_empty() && beyond[0].passage.is_start);
    Ok(())
}

/// Texts of 20 turns are in memory at once.
#[test]
fn many_hits_have_their_own_passages() -> Result<()> {
    let scene = Scene::new()?;
    let turns: Vec<String> = (1..=45)
        .map(|it| format!("needle number{it} ") + &"filler ".repeat(300_000 * (it / 45)))
        .collect();
    scene.say("t", &turns.iter().map(|it| &**it).collect::<Vec<_>>())?;
    let hits = scene.hits(Query::new("needle").limit(45))?;
    assert_eq!(hits.len(), 45);
    for hit in &hits {
        let start = format!("needle number{} ", hit.seq);
        assert!(hit.passage.text.starts_with(&start), "{hit:?}");
        assert_eq!(highlights(hit), ["needle"]);
    }
    Ok(())
}

/// A word is looked for in the first MiB of a turn.
#[test]
fn a_passage_at_the_end_of_the_first_mebibyte_is_not_the_end() -> Result<()> {
    let scene = Scene::new()?;
    let content = "x".repeat((1 << 20) - 8) + " needle " + &"filler ".repeat(20);
    scene.say("t", &[&content])?;
    let hits = scene.hits(Query::new("needle"))?;
    assert_eq!(highlights(&hits[0]), ["needle"]);
    assert!(!hits[0].passage.is_end);
    Ok(())
}

/// Between its words are more characters than two chunks share.
#[test]
fn a_long_phrase_between_two_chunks_is_highlighted() -> Result<()> {
    let scene = Scene::new()?;
    let content = "x".repeat(16_300) + " needle" + &" ".repeat(600) + "haystack";
    scene.say("t", &[&content])?;
    let hits = scene.hits(Query::new("\"needle haystack\""))?;
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].passage.highlights.len(), 1);
    Ok(())
}

/// Texts are looked at in chunks of 16 KiB.
#[test]
fn a_word_between_two_chunks_is_highlighted() -> Result<()> {
    let scene = Scene::new()?;
    for at in 16_375..16_390 {
        let content = format!(
            "{}needle {}",
            "x".repeat(at - 1) + " ",
            "filler ".repeat(100)
        );
        scene.say(&format!("t{at}"), &[&content])?;
    }
    let hits = scene.hits(Query::new("needle"))?;
    assert_eq!(hits.len(), 15);
    for hit in hits {
        assert_eq!(highlights(&hit), ["needle"], "{}", hit.task_id);
    }
    Ok(())
}

/// Texts of letters, digits, signs, blanks and FTS5's own syntax.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Zäéñ0-9α-ωа-я日本語カナ한국ไทย]{1,4}",
        "[ \n\t\"*^+:(){}'\\-.,_\0\u{2}\u{3}]{1,3}",
        Just(" AND ".to_owned()),
        Just(" NEAR(".to_owned()),
        any::<char>().prop_map(|it| format!(" {it} ")),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// The words of a text: runs of the letters above.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_letter = |it: char| {
        it.is_ascii_alphanumeric()
            || "äéñ日本語カナ한국ไทย".contains(it)
            || ('α'..='ω').contains(&it)
            || ('а'..='я').contains(&it)
    };
    text.split(move |it| !is_letter(it))
        .filter(|it| !it.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// A turn is found by its words, alone, together, as a phrase and by their beginning. No text is an error.
    #[test]
    fn any_turn_is_found_by_its_words(content in text(), query in text()) {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repo::open_in_memory().unwrap();
        say(&repo, "t", &[&content]).unwrap();
        let index = Index::open(&repo, folder.path().join("index")).unwrap();
        index.update().unwrap();
        match index.search(&Query::new(&*query)) {
            Ok(hits) => for hit in hits {
                for range in hit.passage.highlights {
                    prop_assert!(!hit.passage.text[range].is_empty());
                }
            },
            Err(Error::InvalidQuery { .. }) => {}
            Err(error) => panic!("{query:?}: {error:?}"),
        }
        let mut queries: Vec<String> = words(&content).map(str::to_owned).collect();
        if !queries.is_empty() {
            queries.push(queries.join(" "));
            queries.push(format!("\"{}\"", content.replace('"', " ")));
            queries.push(format!("{}*", queries[0]));
        }
        for query in queries {
            let hits = index.search(&Query::new(&*query)).unwrap();
            prop_assert_eq!(hits.len(), 1, "{:?}", query);
            prop_assert!(!hits[0].passage.highlights.is_empty(), "{:?}", query);
        }
    }
}

#[test]
fn times_beyond_every_turn_are_no_error() -> Result<()> {
    let scene = Scene::new()?;
    scene.say("t", &["needle"])?;
    let all = Query::new("needle")
        .since(DateTime::<Utc>::MIN_UTC)
        .until(DateTime::<Utc>::MAX_UTC);
    assert_eq!(scene.hits(all)?.len(), 1);
    Ok(())
}
