//! A folder of pages.

use std::fs;

use crate::support::Sandbox;

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
