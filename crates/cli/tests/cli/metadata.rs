//! The options `--metadata`, `--config-dir` and `--not-before`.

use serde_json::json;

use crate::support::Sandbox;

const JSON: &str = " {\"z\" : 1.0e5,\n\"a\":[ -0, \"é\\u00e9\u{202e}\"]}";
const SET: [&str; 7] = [
    "session",
    "set",
    "t",
    "--backend",
    "claude",
    "--session-id",
    "s",
];

#[test]
fn metadata_are_kept_byte_for_byte() {
    let sandbox = Sandbox::new();
    let file = format!("@{}", sandbox.file("metadata.json", JSON).display());
    for given in [JSON, &*file] {
        let task = ["task", "add", "t", "--json", "--metadata", given];
        assert_eq!(sandbox.run(task).one()["metadata"], JSON);
        let append = ["append", "t", "--role", "tool", "--metadata", given, "x"];
        sandbox.run(append).ok();
        let set = [&SET[..], &["--json", "--metadata", given]].concat();
        assert_eq!(sandbox.run(set).one()["metadata"], JSON);
    }
    let show = sandbox.run(["task", "show", "t", "--json"]).one();
    assert_eq!(show["metadata"], JSON);
    assert_eq!(show["session"]["metadata"], JSON);
    assert_eq!(show["revisions"][0]["metadata"], JSON);
    assert_eq!(show["revisions"].as_array().unwrap().len(), 1, "all equal");
    for turn in sandbox.run(["history", "t", "--json"]).json() {
        assert_eq!(turn["metadata"], JSON);
    }
    // Other options leave it alone, and a binding is replaced as a whole.
    let named = sandbox.run(["task", "add", "t", "--name", "N", "--json"]);
    assert_eq!(named.one()["metadata"], JSON);
    let set = [&SET[..], &["--json"]].concat();
    assert_eq!(sandbox.run(set).one()["metadata"], json!(null));
    let log = sandbox.run(["session", "log", "t", "--json"]).json();
    assert_eq!(
        (&log[0]["first_seq"], &log[1]["first_seq"]),
        (&json!(2), &json!(3))
    );

    let text = sandbox.run(["task", "show", "t"]).ok();
    assert!(text.ends_with(&format!("\n\nmetadata\n{JSON}\n")), "{text}");
    #[cfg(unix)]
    {
        let show = sandbox.turnkeep(["task", "show", "t"]);
        let text = crate::support::run_on_terminal(show, "").ok();
        assert!(text.contains("\\u{202e}"), "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
    }
}

/// The value, which may be secret, is in no error. No store is made, and a stored one does not change.
#[test]
fn metadata_that_are_no_object_are_refused() {
    let sandbox = Sandbox::new();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024));
    let long = format!("@{}", sandbox.file("long.json", long).display());
    let binary = format!("@{}", sandbox.file("binary", b"{\"a\":\"\xff\"}").display());
    let none = format!("@{}", sandbox.path("none").display());
    let cases = [
        ("secret", "is not a JSON object, at line 1 column 1"),
        ("[\"secret\"]", "is not a JSON object"),
        ("{\"secret\":1", "is not a JSON object, at line 1 column 11"),
        ("{\"secret\":1,\"secret\":2}", "repeats a key"),
        ("{\"a\":\"secret\\u0000\"}", "has U+0000 in a text"),
        (&*long, "is 1048577 bytes long, at most 1048576 are allowed"),
        (&*binary, "cannot read the file `"),
        (&*none, "cannot read the file `"),
    ];
    let refuse = || {
        for (given, reason) in cases {
            let append = ["append", "t", "--role", "user", "--metadata", given, "x"];
            let set = [&SET[..], &["--metadata", given]].concat();
            let add = ["task", "add", "t", "--metadata", given];
            for args in [&append[..], &set, &add] {
                let error = sandbox.run(args).failed(2);
                let begin = "error: invalid value for '--metadata <JSON>': ";
                assert!(error.starts_with(&format!("{begin}{reason}")), "{error}");
                assert!(!error.contains("secret"), "{error}");
            }
        }
    };
    refuse();
    assert!(!sandbox.db().exists());
    sandbox.run(["task", "add", "t", "--metadata", "{}"]).ok();
    let before = sandbox.run(["export"]).ok();
    refuse();
    assert_eq!(sandbox.run(["export"]).ok(), before);
}

#[test]
fn a_task_waits_until_its_time() {
    let sandbox = Sandbox::new();
    let add = |time| sandbox.run(["task", "add", "t", "--json", "--not-before", time]);
    let added = add("9999-12-31T23:59:59+01:00").one();
    assert_eq!(added["not_before"], "9999-12-31T22:59:59.000000Z");
    assert_eq!(sandbox.run(["task", "ready", "--json"]).ok(), "");
    let text = sandbox.run(["task", "show", "t"]).ok();
    assert!(
        text.contains("\nnot before    9999-12-31T22:59:59Z\n"),
        "{text}"
    );
    for wrong in ["tomorrow", "2026-12-01", "2026-12-01T08:00:00"] {
        let error = add(wrong).failed(2);
        assert!(
            error.contains("is no time such as 2026-12-01T08:00:00Z"),
            "{error}"
        );
    }
    assert_eq!(add("2020-01-01T00:00:00Z").one()["id"], "t");
    assert_eq!(sandbox.run(["task", "ready", "--json"]).one()["id"], "t");
}
