//! The whole output, compared with files. `UPDATE_SNAPSHOTS=1 cargo test` writes them.

use std::path::Path;
use std::{env, fs};

use turnkeep_render::{IndexEntry, Terminal, html, markdown};

use crate::support::{header, turns};

fn compare(name: &str, shown: &[u8]) {
    let shown = String::from_utf8(shown.to_vec()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &shown).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(shown == expected, "{name} differs:\n{shown}");
}

fn on(terminal: &Terminal) -> Vec<u8> {
    let mut shown = Vec::new();
    terminal.header(&header(), &mut shown).unwrap();
    for turn in turns() {
        terminal.turn(&turn, &mut shown).unwrap();
    }
    shown
}

#[test]
fn terminal() {
    compare("terminal-80.txt", &on(&Terminal::new(80)));
    compare(
        "terminal-200.txt",
        &on(&Terminal::new(200).full_tools(true)),
    );
}

#[test]
fn terminal_with_colors() {
    for (width, name) in [
        (80, "terminal-80-colors.txt"),
        (200, "terminal-200-colors.txt"),
    ] {
        let shown = on(&Terminal::new(width).colors(true));
        let shown = String::from_utf8(shown).unwrap();
        let shown = turnkeep_model::visible_lines(&shown).into_owned();
        compare(name, shown.as_bytes());
    }
}

#[test]
fn document() {
    let mut shown = Vec::new();
    markdown::header(&header(), &mut shown).unwrap();
    for turn in turns() {
        markdown::turn(&turn, &mut shown).unwrap();
    }
    compare("conversation.md", &shown);
}

#[test]
fn page() {
    let mut shown = Vec::new();
    html::page(&header(), &turns(), &mut shown).unwrap();
    compare("page.html", &shown);
}

#[test]
fn index() {
    let entry = |file: &'static str| IndexEntry::new(file, header(), "After login the shop");
    let mut shown = Vec::new();
    let entries = [entry("a.html"), entry("b c&d.html")];
    html::index("Sessions", entries, &mut shown).unwrap();
    compare("index.html", &shown);
}
