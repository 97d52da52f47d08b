//! Pages in a real browser: no script of a text runs, and no request leaves.
//!
//! Needs `chromium-headless-shell`, a package of Debian: `cargo test -p turnkeep-render --test browser -- --ignored`

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use turnkeep_model::Role;
use turnkeep_render::chrono::DateTime;
use turnkeep_render::{Header, IndexEntry, ToolCall, Turn, html};

/// Attacks that leave a mark when they run: an attribute of the root, or a request.
const ATTACKS: &[&str] = &[
    "<script>RUN</script>",
    "</style><script>RUN</script>",
    "</title></head><body onload=RUN>",
    "<svg/onload=RUN>",
    "<svg><animate onbegin=RUN attributeName=x dur=1s>",
    "<img src=LEAK onerror=RUN>",
    "<iframe srcdoc='<script>parent.RUN</script>'></iframe>",
    "<iframe src=LEAK></iframe><object data=LEAK></object><embed src=LEAK>",
    "<meta http-equiv=refresh content='0;url=LEAK'>",
    "<base href=LEAK><link rel=stylesheet href=LEAK><link rel=preload href=LEAK as=image>",
    "<style>@import url(LEAK); body { background: url(LEAK) }</style>",
    "<p style='background: url(LEAK)'>",
    "<video src=LEAK poster=LEAK autoplay></video><audio src=LEAK autoplay></audio>",
    "![x](LEAK) [![x](LEAK)](LEAK) ![x](LEAK 'x\" onerror=\"RUN')",
    "[x](javascript:RUN) <javascript:RUN>",
    "<details open ontoggle=RUN>x</details>",
    "<input autofocus onfocus=RUN>",
    "```\"><script>RUN</script>\n</code></pre><script>RUN</script>\n```",
    "| <script>RUN</script> |\n|---|\n| </td><td><img src=LEAK onerror=RUN> |",
    "\"><script>RUN</script><x y=\"",
    "'><script>RUN</script><x y='",
    "--><script>RUN</script><!--",
    "&lt;script&gt;RUN&lt;/script&gt; &#60;script&#62;RUN&#60;/script&#62;",
    "<<script>script>RUN</script>",
    "</script><script>RUN</script>",
];

/// Answers requests, and reports their first lines.
struct Server {
    address: String,
    requests: Receiver<String>,
}

impl Server {
    fn start(page: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, requests) = channel();
        let page = page.replace("LEAK", &format!("http://{address}/leak"));
        thread::spawn(move || {
            for stream in listener.incoming() {
                drop(sender.send(answer(stream.unwrap(), &page)));
            }
        });
        Self { address, requests }
    }
}

fn answer(mut stream: TcpStream, page: &str) -> String {
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(length @ 1..) => request.extend(&bytes[..length]),
            _ => break,
        }
    }
    let request = String::from_utf8_lossy(&request);
    let line = request.lines().next().unwrap_or_default();
    // A page that leads to itself would be loaded without end.
    let (status, body) = match line.starts_with("GET /page ") {
        true => ("200 OK", page),
        false => ("404 Not Found", "none"),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nConnection: close\r\n");
    // A browser may close a connection that it does not need.
    drop(write!(
        stream,
        "{head}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    line.to_owned()
}

/// Loads the page, and returns the document that the browser made of it, and the requests.
fn load(page: String) -> (String, Vec<String>) {
    let server = Server::start(page);
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium-headless-shell")
        .args([
            "--no-sandbox",
            "--disable-gpu",
            // That of a telephone.
            "--window-size=400,800",
            "--virtual-time-budget=5000",
            "--timeout=30000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/page", server.address))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let requests = server.requests.try_iter().filter(|line| !line.is_empty());
    (
        String::from_utf8(output.stdout).unwrap(),
        requests.collect(),
    )
}

fn attacks() -> String {
    let all = ATTACKS.iter().chain([&"x"]);
    let all: Vec<_> = all
        .map(|attack| attack.replace("RUN", "document.documentElement.dataset.ran=1"))
        .collect();
    all.join("\n\n")
}

fn assert_only_the_page(page: String, mark: &str) {
    let (document, requests) = load(page);
    assert!(document.contains(mark), "{document}");
    let root = document.split("<head").next().unwrap();
    assert!(!root.contains("data-ran"), "{root}");
    assert_eq!(requests, ["GET /page HTTP/1.1"]);
}

#[test]
#[ignore = "needs chromium-headless-shell"]
fn a_page_without_escapes_would_run_scripts_and_send_requests() {
    let attacks = attacks().replace("http-equiv=refresh", "");
    let page = format!("<!DOCTYPE html><html><head></head><body>{attacks}");
    let (document, requests) = load(page);
    assert!(document.split("<head").next().unwrap().contains("data-ran"));
    assert!(requests.iter().any(|line| line.starts_with("GET /leak")));
}

#[test]
#[ignore = "needs chromium-headless-shell"]
fn no_script_of_a_conversation_runs_and_no_request_leaves() {
    let time = DateTime::parse_from_rfc3339("2026-11-28T14:02:00+01:00").unwrap();
    let each = attacks();
    let texts = each.split("\n\n").chain([each.as_str()]);
    let mut turns = Vec::new();
    for (seq, text) in (1..).zip(texts) {
        for role in [Role::User, Role::Assistant, Role::System, Role::Tool] {
            let mut turn = Turn::new(seq, role, time, text);
            turn.tools = vec![ToolCall::new(text, text, Some(text.into()))];
            turns.push(turn);
        }
    }
    let mut header = Header::new(each.as_str());
    header.folder = Some(each.as_str().into());
    header.resume = Some(each.as_str().into());
    let mut page = Vec::new();
    html::page(&header, &turns, &mut page).unwrap();
    assert_only_the_page(String::from_utf8(page).unwrap(), "<article");
}

#[test]
#[ignore = "needs chromium-headless-shell"]
fn the_script_of_an_index_runs_and_no_other() {
    let attacks = attacks();
    let entries = attacks
        .split("\n\n")
        .map(|text| IndexEntry::new(text, Header::new(text), text));
    let mut page = Vec::new();
    html::index(&attacks, entries, &mut page).unwrap();
    // The script shows the field.
    let label = "Search titles and prompts";
    let field = format!("<input type=\"search\" aria-label=\"{label}\" placeholder=\"{label}\">");
    assert_only_the_page(String::from_utf8(page).unwrap(), &field);
}

#[test]
#[ignore = "needs chromium-headless-shell"]
fn the_policy_stops_markup_that_should_get_through() {
    let mut page = Vec::new();
    html::page(&Header::new("x"), &[], &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let (begin, end) = page.split_once("</main>").unwrap();
    // A refresh and a frame of the page itself are no requests for the policy.
    let unescaped = attacks().replace("http-equiv=refresh", "");
    let (document, requests) = load(format!("{begin}</main>{unescaped}{end}"));
    let root = document.split("<head").next().unwrap();
    assert!(!root.contains("data-ran"), "{root}");
    let leaks: Vec<_> = requests
        .iter()
        .filter(|line| line.contains("leak"))
        .collect();
    assert_eq!(leaks, [""; 0]);
}

#[test]
#[ignore = "needs chromium-headless-shell"]
fn no_text_makes_a_narrow_page_scroll_sideways() {
    let time = DateTime::parse_from_rfc3339("2026-11-28T14:02:00+01:00").unwrap();
    let word = "x".repeat(300);
    let text = format!(
        "{word}\n\n```rust\nlet a = \"{word}\";\n```\n\n> {word}\n\n- - - {word}\n\n`{word}`\n\n\
         <https://a.example/{word}>\n\n| a | b |\n|---|---|\n| {word} | {word} |\n\n# {word}"
    );
    let roles = [Role::User, Role::Assistant, Role::System, Role::Tool];
    let turns = (1..).zip(roles).map(|(seq, role)| {
        let mut turn = Turn::new(seq, role, time, text.as_str());
        turn.tools = vec![ToolCall::new(
            word.as_str(),
            text.as_str(),
            Some(text.as_str().into()),
        )];
        turn
    });
    let mut turns: Vec<_> = turns.collect();
    turns.push(Turn::new(5, Role::User, time, word.as_str()));
    let mut header = Header::new(word.as_str());
    header.folder = Some(word.as_str().into());
    header.resume = Some(word.as_str().into());
    let mut page = Vec::new();
    html::page(&header, &turns, &mut page).unwrap();
    let mut index = Vec::new();
    let entry = IndexEntry::new("a.html", header, word.as_str());
    html::index(&word, [entry], &mut index).unwrap();
    for page in [page, index] {
        // A script of the test, which the policy would stop.
        let page = String::from_utf8(page).unwrap();
        let page = page.replace("http-equiv=\"Content-Security-Policy\"", "name=\"none\"");
        let open = page.replace("<details>", "<details open>");
        let script = "<script>const root = document.documentElement;
            root.dataset.wider = root.scrollWidth > root.clientWidth</script>";
        let (document, _) = load(open.replace("</body>", &format!("{script}</body>")));
        let root = document.split("<head").next().unwrap();
        assert!(root.contains("data-wider=\"false\""), "{root}");
    }
}
