//! What a shared page still says.

use turnkeep_model::Role;
use turnkeep_render::{Header, Redactor, ToolCall, Turn};

use crate::support::at;

fn redacted(text: &str) -> String {
    Redactor::new(["/srv/people/ada", "/root/"])
        .text(text)
        .into_owned()
}

#[test]
fn home_folders_become_a_tilde() {
    for (text, shown) in [
        ("cd /home/ada/app && ls /home/bob", "cd ~/app && ls ~"),
        ("/Users/Ada.L/x:/Users/bob", "~/x:~"),
        (
            r"C:\Users\Ada\x C:\\Users\\Ada\\x c:/Users/Ada/x",
            r"~\x ~\\x c:~/x",
        ),
        ("/srv/people/ada/x /srv/people/adam", "~/x /srv/people/adam"),
        (
            "/root/x, `/root`, /rootkit, /x/root",
            "~/x, `~`, /rootkit, /x/root",
        ),
        (
            "~/.claude/projects/-home-ada-app/x",
            "~/.claude/projects/-~-app/x",
        ),
        ("file:///home/ada/x", "file://~/x"),
        ("/homes /home/ /usr/home", "/homes /home/ /usr/home"),
        ("--home-dir stay-at-home-mum", "--home-dir stay-at-home-mum"),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn addresses_of_people_are_replaced() {
    for (text, shown) in [
        (
            "Ada <ada.l+x@mail.example.com>, bob@x.io.",
            "Ada <[e-mail]>, [e-mail].",
        ),
        ("mailto:jörg@müller.example", "mailto:[e-mail]"),
        (
            "git clone git@github.com:a/b.git",
            "git clone git@github.com:a/b.git",
        ),
        (
            "@types/node@20.1.0 @user a@b",
            "@types/node@20.1.0 @user a@b",
        ),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn keys_and_passwords_are_replaced() {
    for text in [
        "sk-ant-api03-AbCdEfGh_1234-ijklmnop",
        "sk-proj-abcdefghijklmnopqrst",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl_mnop",
        "glpat-abcdefghijklmnopqrst",
        "xoxb-1234567890-abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "npm_abcdefghijklmnopqrstuvwxyz0123456789",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "sk_live_abcdefghij0123456789",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\nabc\n-----END OPENSSH PRIVATE KEY-----",
        "wJa7rXUtnF3MIK7MD8bPxRf1CYz",
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "x7Kp2mQ9vL4nR8tY3wZ6",
    ] {
        assert_eq!(redacted(&format!("a {text} b")), "a [key] b");
        assert_eq!(redacted(&format!("\"{text}\",")), "\"[key]\",");
    }
    for (text, shown) in [
        ("DB_PASSWORD=hunter22 x", "DB_PASSWORD=[key] x"),
        ("export API_KEY='abcdef'", "export API_KEY='[key]'"),
        (r#"{"password": "hunter22"}"#, r#"{"password": "[key]"}"#),
        (
            r#"{\"api_key\": \"hunter22\"}"#,
            r#"{\"api_key\": \"[key]\"}"#,
        ),
        ("apiKey = 'hunter22'", "apiKey = '[key]'"),
        ("postgres://me:hunter2@db/x", "postgres://me:[key]@db/x"),
        (
            "Authorization: Bearer abcdefghijkl",
            "Authorization: Bearer [key]",
        ),
        ("login --password hunter22", "login --password [key]"),
        ("curl --auth-token=abcdef", "curl --auth-token=[key]"),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn names_paths_and_variables_stay() {
    for text in [
        "550e8400-e29b-41d4-a716-446655440000",
        "turnkeep resume claude:550e8400-e29b-41d4-a716-446655440000",
        "getUserByIdAndOrganizationOrFail2",
        "tests::a_store_that_has_2_writers_keeps_all_64_turns",
        "x86_64-unknown-linux-gnu",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
        "AbstractSingletonProxyFactoryBeanV2Impl3",
        "2026-11-28T14:02:00.000000+01:00",
        "API_KEY=$API_KEY PASSWORD={{ password }} TOKEN=${TOKEN}",
        "password = getpass(prompt)",
        "const TOKEN: &str",
        "https://github.com/a/b/pull/12345678901234567890",
        "================================================",
        "commit 3f78685",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn all_texts_of_a_conversation_are_replaced_and_counted() {
    let secret = "/home/ada ada@x.io TOKEN=abcdef";
    let mut header = Header::new(secret);
    (header.agent, header.folder, header.resume) = (
        Some(secret.into()),
        Some(secret.into()),
        Some(secret.into()),
    );
    let mut turn = Turn::new(1, Role::User, at("28T14:02"), secret);
    turn.tools = vec![ToolCall::new(secret, secret, Some(secret.into()))];

    let mut redactor = Redactor::new([]);
    assert_eq!(redactor.redactions().to_string(), "nothing");
    redactor.header(&mut header);
    redactor.turn(&mut turn);

    let shown = "~ [e-mail] TOKEN=[key]";
    let texts = [
        header.agent,
        header.folder,
        header.resume,
        turn.tools[0].output.clone(),
    ];
    assert!(texts.into_iter().all(|text| text.unwrap() == shown));
    assert_eq!(
        [
            &*header.title,
            &*turn.text,
            &*turn.tools[0].name,
            &*turn.tools[0].input
        ],
        [shown; 4]
    );
    assert_eq!(
        redactor.redactions().to_string(),
        "8 home folders, 8 e-mail addresses, 8 keys"
    );

    // A repeat finds nothing.
    redactor.turn(&mut turn);
    assert_eq!(redactor.redactions().keys, 8);
}
