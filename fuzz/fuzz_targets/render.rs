//! No text makes the renderers panic, sends a control character to a terminal, or becomes a script in a page.

#![no_main]

use std::str;

use libfuzzer_sys::fuzz_target;
use turnkeep_render::chrono::DateTime;
use turnkeep_render::{Header, Redactor, Terminal, Turn, html, markdown};
use turnkeep_repo::Role;

fuzz_target!(|input: (u8, &str)| {
    let (width, text) = input;
    let time = DateTime::UNIX_EPOCH.fixed_offset();
    let header = Header::new(text);
    let turns = [Role::User, Role::Assistant].map(|role| Turn::new(1, role, time, text));

    let terminal = Terminal::new(width.into());
    let mut shown = Vec::new();
    terminal.header(&header, &mut shown).unwrap();
    for turn in &turns {
        terminal.turn(turn, &mut shown).unwrap();
    }
    let is_control =
        |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!str::from_utf8(&shown).unwrap().contains(is_control));

    let mut page = Vec::new();
    html::page(&header, &turns, &mut page).unwrap();
    let page = str::from_utf8(&page).unwrap().to_lowercase();
    for mark in [
        "<script",
        "<img",
        "<iframe",
        "<svg",
        "href=\"javascript:",
        "<meta http-equiv=\"refresh",
    ] {
        assert!(!page.contains(mark), "{mark}");
    }

    let mut document = Vec::new();
    for turn in &turns {
        markdown::turn(turn, &mut document).unwrap();
    }
    let document = str::from_utf8(&document).unwrap();
    let headings = document.lines().filter(|line| line.starts_with("## #1 "));
    assert!(headings.count() >= turns.len());

    let _ = Redactor::new(["/home/ada"]).text(text);
});
