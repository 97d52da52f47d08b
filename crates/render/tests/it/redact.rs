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
        (
            "gcc -I/home/bob/inc -isystem/home/bob/lib",
            "gcc -I~/inc -isystem~/lib",
        ),
        (
            r#"{"text":"a\n/home/bob/x\\n/home/bob/y \/home\/bob\/z"}"#,
            r#"{"text":"a\n~/x\\n~/y ~\/z"}"#,
        ),
        (
            "\x1b[34m/home/bob/x\x1b[m/home/bob/y",
            "\x1b[34m~/x\x1b[m~/y",
        ),
        (r"\u001b[1m\u001b[K/home/bob/x", r"\u001b[1m\u001b[K~/x"),
        ("-/home/bob/x\n+**/home/bob/y**", "-~/x\n+**~/y**"),
        ("file%3A%2F%2F%2Fhome%2Fbob%2Fx", "file%3A%2F%2F~%2Fx"),
        ("/home/jean-luc/x /home/a.b_c/x", "~/x ~/x"),
        (
            r"C:\Users\Ada Lovelace\x, C:\\Users\\Ada Lovelace\\x, /mnt/c/Users/Ada Lovelace/x",
            r"~\x, ~\\x, ~/x",
        ),
        (r"/c/Users/ada/x C:\Users\ada is mine", r"~/x ~ is mine"),
        ("/var/home/bob/x /export/home/bob", "~/x ~"),
        (
            "ls\n-home-bob-app\nC--Users-Bob-app",
            "ls\n-~-app\nC--~-app",
        ),
        // The user's own is found everywhere.
        (
            r"x/srv/people/ada/y \nsrv -L/srv/people/ada/lib \/srv\/people\/ada\/x projects/-srv-people-ada-app",
            r"x~/y \nsrv -L~/lib ~\/x projects/-~-app",
        ),
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
        (r"To:\nada@example.com\n", r"To:\n[e-mail]\n"),
        ("?to=ada%40example.com&x", "?to=[e-mail]&x"),
        (
            "logo@2x.png getty@tty1.service react@19.0.0-rc.next",
            "logo@2x.png getty@tty1.service react@19.0.0-rc.next",
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
        (
            "https://me:p@ss@db.example/x",
            "https://me:[key]@db.example/x",
        ),
        ("ftp://me:🙂@db.example", "ftp://me:[key]@db.example"),
        (
            "curl -sS -u me:hunter2 https://x",
            "curl -sS -u me:[key] https://x",
        ),
        ("curl --user 'me:pa ss'", "curl --user 'me:[key] ss'"),
        ("mysql -uroot -phunter2 shop", "mysql -uroot -p[key] shop"),
        ("sshpass -p hunter2 ssh x", "sshpass -p [key] ssh x"),
        (
            "machine x login ada password hunter2",
            "machine x login ada password [key]",
        ),
        ("<password>hunter2</password>", "<password>[key]</password>"),
        ("Cookie: sid=a1b2c3d4; theme=dark", "Cookie: [key]"),
        (
            r#""Authorization": "Basic YWRhOmh1bnRlcg""#,
            r#""Authorization": "Basic [key]""#,
        ),
        (
            "hooks.slack.com/services/T01/B01/abcdefgh",
            "hooks.slack.com/services/[key]",
        ),
        ("$2b$12$abcdefghijklmnopqrstuv.wxyz", "[key]"),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn values_after_a_name_are_replaced() {
    for (text, shown) in [
        ("password: hunter22", "password: [key]"),
        (
            "  password: letmein\n  user: ada",
            "  password: [key]\n  user: ada",
        ),
        (
            "spring.datasource.password=hunter22",
            "spring.datasource.password=[key]",
        ),
        ("db.password=letmein", "db.password=[key]"),
        ("_password=aHVudGVyMg==", "_password=[key]"),
        (
            "//registry.npmjs.org/:_authToken=abc-def",
            "//registry.npmjs.org/:_authToken=[key]",
        ),
        ("_auth=YWRhOmh1bnRlcg==", "_auth=[key]"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY",
            "aws_secret_access_key = [key]",
        ),
        (
            "aws_session_token=IQoJb3JpZ2lu/X2Vj",
            "aws_session_token=[key]",
        ),
        (
            r#""SecretAccessKey": "abc/def+ghi""#,
            r#""SecretAccessKey": "[key]""#,
        ),
        (
            "/x?access_token=abcd1234&page=2",
            "/x?access_token=[key]&page=2",
        ),
        ("/x?token=abcdef&page=2", "/x?token=[key]&page=2"),
        (
            "PASSWORD=\"correct horse battery\" x",
            "PASSWORD=\"[key]\" x",
        ),
        ("password: 'correct horse battery'", "password: '[key]'"),
        ("DB_PASSWORD=abcdef,ghi x", "DB_PASSWORD=[key] x"),
        ("DB_PASSWORD=ab,c12345678", "DB_PASSWORD=[key]"),
        ("DB_PASSWORD=letmein", "DB_PASSWORD=[key]"),
        (
            "Server=x;Password=abc123;Database=y",
            "Server=x;Password=[key];Database=y",
        ),
        (
            r#"{\"password\": \"correct horse\"}"#,
            r#"{\"password\": \"[key]\"}"#,
        ),
        (
            r#""env": "DB_PASSWORD=hunter22\nUSER=ada""#,
            r#""env": "DB_PASSWORD=[key]\nUSER=ada""#,
        ),
        (
            r#"{\\\"token\\\": \\\"abcdef12\\\"}"#,
            r#"{\\\"token\\\": \\\"[key]\\\"}"#,
        ),
        (r#""password": "x\"y z""#, r#""password": "[key]""#),
        (
            "\x1b[34;1m\"password\"\x1b[0m: \x1b[32m\"hunter22\"\x1b[0m",
            "\x1b[34;1m\"password\"\x1b[0m: \x1b[32m\"[key]\"\x1b[0m",
        ),
        (
            "\x1b[32mTOKEN\x1b[0m=abcdef\x1b[0m",
            "\x1b[32mTOKEN\x1b[0m=[key]\x1b[0m",
        ),
        ("**Password:** `hunter22`", "**Password:** `[key]`"),
        ("the password is hunter22.", "the password is [key]."),
        ("let api_key = b\"abcdef\";", "let api_key = b\"[key]\";"),
        ("MYSQL_PASS=hunter", "MYSQL_PASS=[key]"),
        ("pwd=1234", "pwd=[key]"),
        ("x-api-key: abc123", "x-api-key: [key]"),
        ("client-secret: Abc~123.def", "client-secret: [key]"),
        ("password = \"open", "password = \"[key]"),
        ("token=abc123;secret=def456", "token=[key];secret=[key]"),
        ("    12→password: letmein", "    12→password: [key]"),
        ("+password=letmein", "+password=[key]"),
        ("APP_SECRET=\"correct horse\"", "APP_SECRET=\"[key]\""),
        (
            "AWS Secret Access Key [None]: wJalrXUtnFEMI/K7MDENG/bPxRfiCY",
            "AWS Secret Access Key [None]: [key]",
        ),
        (
            "user.setPassword(\"hunter22\")",
            "user.setPassword(\"[key]\")",
        ),
        ("wpa_psk=\"correct horse\"", "wpa_psk=\"[key]\""),
        ("Passwort: geheim123", "Passwort: [key]"),
        (
            "set -gx GITHUB_TOKEN \"abcdef\"",
            "set -gx GITHUB_TOKEN \"[key]\"",
        ),
        (
            "docker login -u ada -p hunter22 x.example",
            "docker login -u ada -p [key] x.example",
        ),
        (
            "X-Amz-Signature=4f1e6c0d2b8a9735e1d0c4b7a6f2938e5d1c0b4a7f6e2938d5c1b0a4f7e6d293",
            "[key]",
        ),
        ("SECRET_KEY_BASE=abcdef", "SECRET_KEY_BASE=[key]"),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn secrets_may_begin_with_a_sign() {
    for secret in [
        "%Xy12abc!",
        "&Tr0ub4dor",
        "*Abc123!",
        "+Abc123!",
        "?Abc123!",
        ".Abc123!",
        ";Abc123!",
        "|Abc123!",
        "(Abc123!",
        "[Abc123!",
        "{Abc123!",
        "$ecret!word",
        "$9ecret",
        "Tr0ub4dor(3",
        "Tr0ub::4dor",
        "%23S3cret%21",
        "&Sommerzeit",
    ] {
        for (before, after) in [
            ("{\"password\": \"", "\"}"),
            ("{\\\"password\\\": \\\"", "\\\"}"),
            ("password = \"", "\""),
            ("DB_PASSWORD='", "' ./run"),
            ("connect(user='ada', password='", "')"),
            ("postgres://app:", "@db/x"),
            ("curl -u app:", " https://x"),
        ] {
            let text = format!("{before}{secret}{after}");
            assert_eq!(redacted(&text), format!("{before}[key]{after}"));
        }
    }
    let django = "SECRET_KEY = '&0x!9z(p@q-3+t'";
    assert_eq!(redacted(django), "SECRET_KEY = '[key]'");
    for (text, shown) in [
        ("DB_PASSWORD=%Xy12abc! x", "DB_PASSWORD=[key] x"),
        ("db.password=&Tr0ub4dor", "db.password=[key]"),
        ("mysql -uroot -p'%Xy12abc!'", "mysql -uroot -p'[key]'"),
        ("<password>&Abc123</password>", "<password>[key]</password>"),
        ("x --password '*Abc123!'", "x --password '[key]'"),
        ("set -x API_KEY '+Abc123'", "set -x API_KEY '[key]'"),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn a_secret_may_have_the_word_password_in_it() {
    for (text, shown) in [
        ("password: Password123", "password: [key]"),
        (
            "POSTGRES_PASSWORD=dbpassword2024",
            "POSTGRES_PASSWORD=[key]",
        ),
        ("POSTGRES_PASSWORD=password1 x", "POSTGRES_PASSWORD=[key] x"),
        ("{\"password\": \"password1\"}", "{\"password\": \"[key]\"}"),
        ("login(password='My1stPassword')", "login(password='[key]')"),
        ("the password is MyPassword12.", "the password is [key]."),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn cookies_may_be_in_json() {
    for (text, shown) in [
        (
            r#"{"Cookie": "sid=a1b2c3d4; theme=dark", "x": 1}"#,
            r#"{"Cookie": "[key]", "x": 1}"#,
        ),
        (
            r#"{\"set-cookie\":[\"sid=a1b2c3d4\"]}"#,
            r#"{\"set-cookie\":[\"[key]\"]}"#,
        ),
        ("{'Cookie': 'sid=a1b2c3d4'}", "{'Cookie': '[key]'}"),
        ("-H 'Cookie: sid=a1b2c3d4' x", "-H 'Cookie: [key]' x"),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn a_private_key_may_be_cut_and_indented() {
    let line = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz";
    for text in [
        format!("-----BEGIN RSA PRIVATE KEY-----\n{line}\n{line}\nb3Bl"),
        format!(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n{line}\n{line}"
        ),
        format!("-----BEGIN PRIVATE KEY-----\\n{line}\\n{line}\\n-----END PRIVATE KEY-----"),
        format!("-----BEGIN PRIVATE KEY-----\n    {line}\n    {line}\n"),
        format!("{line}\n{line}\nb3Bl=\n-----END OPENSSH PRIVATE KEY-----"),
    ] {
        let shown = redacted(&text);
        assert_eq!(shown.trim_end(), "[key]", "{text}");
    }
    // Words about keys stay.
    let prose =
        "grep -- '-----BEGIN PRIVATE KEY-----' finds none. Then the second answer begins here.";
    assert_eq!(redacted(prose), prose);
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
        "import x from './home/home.component'; import y from '@/home/Header'",
        "src/home/index.tsx views/home/show.html.erb GET /api/Users/5",
        "/home/$USER /home/<name> /home/{user} /home/*/x",
        "Basic authentication, and bearer authentication as well.",
        "docker run -u 1000:1000 x",
        "global-navigation-bar-component risk-management-department",
        "sk-learn-contrib-py-earth-models",
        "interface Login { password: string; token?: string | null }",
        "struct Login {\n    password: String,\n    token: Option<String>,\n}",
        "let token = lexer.next_token()?;\nself.token = token;",
        "fn login(password: &str, token: u64) -> Result<Token>",
        "connect(user=user, password=password, token=self.token)",
        "def f(password=None, *, token: str = \"\"):",
        "const token = await getToken();\nconst secret = process.env.SECRET;",
        "if token == expected { return }",
        "console.log(\"token:\", token)",
        "max_tokens: 4096, tokens_used=123456, \"total_tokens\": 98765",
        "match token { Token::Ident => 1 }",
        "password: user.password, api_key: config.api_key",
        "placeholder: { password: \"Enter your password\", token: \"The token is missing.\" }",
        "The password: at least eight letters. The token: which the server returns.",
        "Secret: none. The password is required, the token is optional.",
        "POSTGRES_PASSWORD_FILE=/run/secrets/db_password",
        "const STORAGE_KEY = 'turnkeep.theme'; PRIMARY KEY (id), FOREIGN KEY: users",
        "the --token option, or --password followed by a word",
        "f\"token={token}\" `password=${password}`",
        "Token: \"noinherit bold #ffffff\", Secret: 'two words'",
        "Attribute.CHALLENGE_PASSWORD: \"challengePassword\"",
        "https://example.com/python/cpython/blob/main/Lib/platform.py#L175-L183",
        "getpass(\"Password: \") token(\"identifier\") verify_password(password) Secret(\"name2\")",
        "docker run -p 8080:80 x; set -e KEY",
        "Token: '#272822', token: https://example.com/token/x1y2",
        "compass: northeast, bypass=always, tokenizer = AutoTokenizer",
        "https://example.com:8080/a@b http://localhost:3000/x?y=a@b",
        "data/2026/11/28/session/rollout-2026-11-28T14-02-00.jsonl",
        "crates/render/src/terminal/document/with/many/folders/AndNames2.rs",
        "Authorization: Bearer <token>, Authorization: Bearer $TOKEN",
        "| password | string | the password of the user |",
        "tokens.map(|token| token.text)",
        "expected token: `}`, found `;`",
        "postgres://$USER:$PASS@db/x postgres://app:${PW}@db/x postgres://app:%PW%@db/x",
        "postgres://{user}:{password}@db postgres://app:{{ pw1 }}@db postgres://%s:%s@%s/%s",
        "postgres://app:****@db/x postgres://app:[key]@db/x curl -u app:$PW1 https://x",
        "curl -u app:{token} https://x; mysql -u root -p\"$DB_PASS1\" shop; mysql -p$pw1 shop",
        "password = \"$DB_PASS1\", token: '${token1}', secret = \"%API_KEY1%\"",
        "password: \"$user->password1\", \"password\": \"$env:DB_PASS1\", KEY=\"$RUNNER_OS-py3\"",
        "\"password\": \"{{ db.pass1 }}\", \"token\": \"{0}-{1}x\"",
        "\"password\": \"[key]\", 'password': '(hidden)', password: '****', password: '<redacted1>'",
        "\"password\": \"%s\", 'token': '%08x%08x', password: '%(pw1)s', token: \"%s:%s\"",
        "\"password\": \"varchar(255)\", \"token\": \"Option<u64>\"",
        "\"password\": \"(?=.*[0-9]).{8,}\", \"secret\": \"[A-Za-z0-9]{32}\", password: \".form-field\"",
        "\"secret\": \"crate::lex2::Token\", \"token\": \"../tok1.json\", token: './x1.json'",
        "url = \"/x?password=\"+encodeURIComponent(p1)+\"&token=\"+t1+\"&x=1\";",
        "$url = '/x?password='.$p1.'&token='.$t1.'&x';",
        "f(password=password1, password2=form.password2, token=token2)",
        "password: users[1].password, token: config2.token, api_key: x1->api_key,",
        "{ password: password1, secret: secret2 }",
        "pub const REKEY_DATA: nl80211_rekey_data = x; self, private_key: ed25519.Ed25519PrivateKey, x",
        "\"token\": \"token1\", \"field\": \"password\", name: 'password2'",
        "the cookie: a small file; cookies: true, cookie: {path: '/'}",
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
