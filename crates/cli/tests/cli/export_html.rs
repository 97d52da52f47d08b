//! A folder of pages.

use std::fs;

use crate::support::{Sandbox, json_lines};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for (id, name) in [("claude:6f1d", "Fix <b>it</b>"), ("other", "Über Mondays")] {
        sandbox.run(["task", "add", id, "--name", name]).ok();
        let text = "Mail ada@example.com";
        sandbox.run(["append", id, "--role", "user", text]).ok();
    }
    sandbox.run(["task", "add", "empty"]).ok();
    sandbox
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let files = fs::read_dir(sandbox.path("pages")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn each_conversation_has_a_page_and_the_index_links_it() {
    let sandbox = sandbox();
    let done = sandbox.run(["export", "--html", "pages"]).ok();
    assert_eq!(done, "pages: 2, written: 2\n");
    assert_eq!(
        names(&sandbox),
        ["claude-6f1d.html", "index.html", "other.html"]
    );
    let index = fs::read_to_string(sandbox.path("pages/index.html")).unwrap();
    assert!(
        index.contains("href=\"./claude-6f1d.html\" dir=auto>Fix &lt;b&gt;it&lt;/b&gt;</a>"),
        "{index}"
    );
    assert!(
        index.contains("über mondays") && index.contains("mail ada@example.com"),
        "{index}"
    );
    #[cfg(unix)]
    for (name, mode) in [
        ("pages", 0o700),
        ("pages/index.html", 0o600),
        ("pages/other.html", 0o600),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = fs::metadata(sandbox.path(name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{name}");
    }
}

#[test]
fn only_what_has_changed_is_written_again() {
    let sandbox = sandbox();
    let export = || sandbox.run(["export", "--html", "pages", "--json"]).one();
    assert_eq!(export()["written"], 2);
    let modified = |name: &str| {
        fs::metadata(sandbox.path(name))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = ["pages/other.html", "pages/index.html"].map(modified);
    let again = export();
    assert_eq!((&again["pages"], &again["written"]), (&2.into(), &0.into()));
    sandbox
        .run(["append", "claude:6f1d", "--role", "assistant", "Done."])
        .ok();
    assert_eq!(export()["written"], 1);
    assert_eq!(modified("pages/other.html"), before[0]);
    assert!(modified("pages/index.html") > before[1]);
    let page = fs::read_to_string(sandbox.path("pages/claude-6f1d.html")).unwrap();
    assert!(page.contains("<p>Done.</p>"), "{page}");
}

#[test]
fn redacted_pages_have_no_addresses() {
    let sandbox = sandbox();
    let run = sandbox.run(["export", "--html", "pages", "--redact"]);
    assert_eq!(
        (run.code, &*run.stderr),
        (Some(0), "replaced: 2 e-mail addresses\n")
    );
    for name in names(&sandbox) {
        let page = fs::read_to_string(sandbox.path("pages").join(name)).unwrap();
        assert!(
            page.contains("[e-mail]") && !page.contains("ada@"),
            "{page}"
        );
    }
}

#[test]
fn tasks_of_like_ids_have_pages_of_their_own() {
    let sandbox = Sandbox::new();
    for id in ["goose:1", "goose-1", "a:b", "a-b", "A:b"] {
        sandbox.run(["task", "add", id, "--name", id]).ok();
        sandbox.run(["append", id, "--role", "user", id]).ok();
    }
    let export = || sandbox.run(["export", "--html", "pages", "--json"]).one();
    assert_eq!(export()["written"], 5);
    assert_eq!(names(&sandbox).len(), 6);
    assert_eq!(export()["written"], 0);
}

#[test]
fn the_last_active_is_the_first_of_the_index() {
    let sandbox = sandbox();
    sandbox
        .run(["append", "claude:6f1d", "--role", "user", "Again"])
        .ok();
    sandbox.run(["export", "--html", "pages"]).ok();
    let index = fs::read_to_string(sandbox.path("pages/index.html")).unwrap();
    assert!(index.find("claude-6f1d.html") < index.find("other.html"));
}

#[test]
fn redacted_pages_have_no_personal_names() {
    let sandbox = Sandbox::new();
    for id in ["ada@example.com", "bob@example.com"] {
        sandbox.run(["task", "add", id, "--name", "t"]).ok();
        sandbox.run(["append", id, "--role", "user", id]).ok();
    }
    let export = || {
        let export = ["export", "--html", "pages", "--redact", "--json"];
        json_lines(&sandbox.run(export).stdout)[0]["written"].clone()
    };
    assert_eq!(export(), 2);
    let expected = ["index.html", "session-1.html", "session-2.html"];
    assert_eq!(names(&sandbox), expected);
    for name in names(&sandbox) {
        let page = fs::read_to_string(sandbox.path("pages").join(name)).unwrap();
        assert!(!page.contains("ada") && !page.contains("bob"), "{page}");
    }
    assert_eq!(export(), 0);
    // The pages of the others keep their numbers.
    let new = "ab@example.com";
    sandbox.run(["task", "add", new, "--name", "t"]).ok();
    sandbox.run(["append", new, "--role", "user", "x"]).ok();
    assert_eq!(export(), 1);
    assert_eq!(names(&sandbox)[3], "session-3.html");
}

/// The folder is about to be shared.
#[test]
fn redacted_pages_are_not_written_among_others() {
    let sandbox = sandbox();
    let id = "ada@example.com";
    sandbox.run(["task", "add", id]).ok();
    sandbox.run(["append", id, "--role", "user", "x"]).ok();
    sandbox.run(["export", "--html", "pages"]).ok();
    let before = names(&sandbox);
    let old = before.iter().find(|name| name.starts_with("sessionada-"));
    let old = sandbox.path("pages").join(old.unwrap());

    let redact = || sandbox.run(["export", "--html", "pages", "--redact"]);
    let error = redact().failed(4);
    assert!(
        error.starts_with(
            "error: pages has another page, which may not be redacted: pages/sessionada-"
        ),
        "{error}"
    );
    assert!(error.contains("\nhint: name a new folder"), "{error}");
    assert_eq!(names(&sandbox), before);
    let page = fs::read_to_string(sandbox.path("pages/other.html")).unwrap();
    assert!(page.contains("ada@example.com"), "not replaced: {page}");

    fs::remove_file(old).unwrap();
    sandbox.file("pages/notes.html", "<!DOCTYPE html>mine");
    redact();
    for name in names(&sandbox) {
        let page = fs::read_to_string(sandbox.path("pages").join(name)).unwrap();
        assert!(!page.contains("ada@"), "{page}");
    }

    sandbox.run(["task", "rm", "other"]).ok();
    let error = redact().failed(4);
    assert!(error.contains("pages/other.html"), "{error}");
}

#[test]
fn pages_have_the_tool_calls_that_are_asked_for() {
    let sandbox = Sandbox::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/recordings");
    sandbox.run(["import", examples]).ok();
    sandbox.run(["recording", "rm", "goose:20261005_1"]).ok();
    let shell = |sandbox: &Sandbox| {
        let pages = names(sandbox).into_iter().map(|name| {
            let page = fs::read_to_string(sandbox.path("pages").join(name)).unwrap();
            page.matches("<summary><b>shell</b>").count()
        });
        pages.sum::<usize>()
    };
    sandbox.run(["export", "--html", "pages"]).ok();
    assert_eq!(shell(&sandbox), 0);
    sandbox.run(["export", "--html", "pages", "--tools"]).ok();
    assert!(shell(&sandbox) > 0);
    sandbox.run(["export", "--tools"]).failed(2);
}

/// It would be read for ever.
#[cfg(unix)]
#[test]
fn a_pipe_with_the_name_of_a_page_is_not_read() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("pages")).unwrap();
    let pipe = sandbox.path("pages/other.html");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let error = sandbox.run(["export", "--html", "pages"]).failed(1);
    assert!(
        error.contains("other.html is not a page of an export"),
        "{error}"
    );
    assert!(pipe.exists());
}

#[test]
fn a_file_that_is_no_page_is_not_replaced() {
    let sandbox = sandbox();
    for name in ["other.html", "index.html"] {
        let path = sandbox.file(&format!("pages/{name}"), "<!DOCTYPE html>mine");
        let error = sandbox.run(["export", "--html", "pages"]).failed(1);
        assert!(
            error.contains(" is not a page of an export\nhint: "),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "<!DOCTYPE html>mine");
        fs::remove_file(path).unwrap();
    }
    sandbox.file("file", "");
    let error = sandbox.run(["export", "--html", "file"]).failed(4);
    assert!(error.starts_with("error: cannot make file: "), "{error}");
    for args in [
        &["--html", "x", "--format", "jsonl"][..],
        &["--html", "x", "y"],
        &["--redact"],
    ] {
        sandbox.run(["export"].iter().chain(args)).failed(2);
    }
}
