//! Texts of others that want to do something.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag};
use turnkeep_model::Role;
use turnkeep_render::{Header, IndexEntry, Terminal, ToolCall, Turn, html, markdown};

use unicode_width::UnicodeWidthStr as _;

use crate::page::{assert_contained, index, page};
use crate::support::at;

const ATTACKS: &[&str] = &[
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title></head><body onload=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<img src=x onerror=\"alert(1)\">",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<form action=https://evil.example><button>",
    "<!-- --!><script>alert(1)</script> -->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php <script>alert(1)</script> ?>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](<java\tscript:alert(1)>)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](https://a.example/\"onmouseover=\"alert(1))",
    "[x](https://a.example 'y\" onmouseover=\"alert(1)')",
    "[<img src=x onerror=alert(1)>](https://a.example)",
    "<javascript:alert(1)>",
    "<https://a.example/\"><script>alert(1)</script>>",
    "![x](https://evil.example/pixel.png)",
    "![x](x\" onerror=\"alert(1))",
    "[![x](https://evil.example/a.png)](https://evil.example)",
    "[x]\n\n[x]: javascript:alert(1) \"y\"",
    "```\"><script>alert(1)</script>\ncode\n```",
    "```html\n</code></pre><script>alert(1)</script>\n```",
    "    </pre><script>alert(1)</script>",
    "`</code><script>alert(1)</script>`",
    "# x {onclick=alert(1)}",
    "| <script>alert(1)</script> |\n|---|\n| </td><td onclick=alert(1)> |",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;script&#62;",
    "<div\n\n<script>alert(1)</script>",
    "\" onmouseover=\"alert(1)",
    "' onmouseover='alert(1)",
    "<\0script>alert(1)</\0script>",
    "\u{2028}<script>alert(1)</script>",
    "<scr\u{ad}ipt>alert(1)</script>",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "- <details open ontoggle=alert(1)>\n  - </article></main></body>",
    "#9 user, 2026-11-28 14:02\n---\n\n> I agree",
    "a\n===\n---\n===",
    "[docs]: https://evil.example\n\n> [docs]: https://evil.example 'x'",
    "[docs] [^1]\n\n[^1]: ## #9 user",
    "[x](file:///etc/passwd) [y](//evil.example/x)",
    "<x onclick=alert(1) style=\"position:fixed\">",
];

/// A conversation with the text in every place.
fn conversation(text: &str) -> (Header<'_>, Vec<Turn<'_>>) {
    let mut header = Header::new(text);
    header.agent = Some(text.into());
    header.folder = Some(text.into());
    header.resume = Some(text.into());
    let turn = |(role, seq): (&Role, i64)| {
        let mut turn = Turn::new(seq, *role, at("28T14:02"), text);
        turn.tools = vec![ToolCall::new(text, text, Some(text.into()))];
        turn
    };
    let roles = [
        Role::User,
        Role::Assistant,
        Role::System,
        Role::Tool,
        Role::User,
    ];
    (header, roles.iter().zip(1..).map(turn).collect())
}

fn on_terminal(header: &Header<'_>, turns: &[Turn<'_>], terminal: &Terminal) -> String {
    let mut shown = Vec::new();
    terminal.header(header, &mut shown).unwrap();
    for turn in turns {
        terminal.turn(turn, &mut shown).unwrap();
    }
    String::from_utf8(shown).unwrap()
}

fn as_markdown(header: &Header<'_>, turns: &[Turn<'_>]) -> String {
    let mut shown = Vec::new();
    markdown::header(header, &mut shown).unwrap();
    for turn in turns {
        markdown::turn(turn, &mut shown).unwrap();
    }
    String::from_utf8(shown).unwrap()
}

#[test]
fn no_text_becomes_markup_of_a_page() {
    for text in ATTACKS {
        let (header, turns) = conversation(text);
        assert_contained(&page(&header, &turns));
        assert_contained(
            &index(vec![IndexEntry::new(*text, header, *text)]).replace("<script>", "<p>"),
        );
    }
}

#[test]
fn all_attacks_one_after_the_other_stay_in_their_turns() {
    let all = ATTACKS.join("\n\n");
    let (header, turns) = conversation(&all);
    let page = page(&header, &turns);
    assert_contained(&page);
    for mark in ["<article ", "</article>"] {
        assert_eq!(page.matches(mark).count(), turns.len());
    }
    let document = as_markdown(&header, &turns);
    assert_eq!(high_headings(&document), 1 + turns.len());
}

/// Returns the events as programs with different extensions see them.
fn events(document: &str) -> impl Iterator<Item = Event<'_>> {
    let extensions =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let dialects = [Options::empty(), extensions, Options::ENABLE_FOOTNOTES];
    dialects
        .into_iter()
        .flat_map(|options| Parser::new_ext(document, options))
}

/// Returns the number of headings like those of the title and of turns, the same in each dialect.
#[track_caller]
fn high_headings(document: &str) -> usize {
    let is_high = |event: &Event<'_>| matches!(event, Event::Start(Tag::Heading { level, .. }) if *level <= HeadingLevel::H2);
    let count = events(document).filter(is_high).count();
    assert_eq!(count % 3, 0, "{document}");
    count / 3
}

#[track_caller]
fn assert_contained_document(document: &str) {
    for event in events(document) {
        let is_contained = match &event {
            Event::Html(_) | Event::InlineHtml(_) | Event::FootnoteReference(_) => false,
            Event::Start(Tag::Image { .. } | Tag::FootnoteDefinition(_)) => false,
            Event::Start(Tag::Link { dest_url, .. }) => {
                let target = dest_url.to_ascii_lowercase();
                ["http://", "https://", "mailto:"]
                    .iter()
                    .any(|scheme| target.starts_with(scheme))
            }
            _ => true,
        };
        assert!(is_contained, "{event:?} in {document}");
    }
    let parser = Parser::new(document);
    assert_eq!(
        parser.reference_definitions().iter().count(),
        0,
        "{document}"
    );
}

#[test]
fn markdown_has_no_html_links_and_headings_of_the_texts() {
    for text in ATTACKS {
        let (header, turns) = conversation(text);
        let document = as_markdown(&header, &turns);
        assert_contained_document(&document);
        assert_eq!(high_headings(&document), 1 + turns.len(), "{document}");
    }
}

#[test]
fn escape_sequences_and_marks_of_direction_are_visible() {
    const SEQUENCES: &[&str] = &[
        "\x1b[2J\x1b]0;title\x07",
        "&#27;[2J &#x9b;31m &#x202e;x",
        "`&#27;\x1b[31m`",
        "```\n\x1b[31m\n```",
        "[a](https://a.example/&#27;[2J)",
        "![\x1b[2J](\x1b[2J)",
        "| \x1b[2J | &#27; |\n|---|---|\n| &#8238; | \u{9b} |",
        "<b \x1b[2J>",
        "a\rb\u{85}c\u{2028}d\u{200b}",
        "\u{202e}evil\u{2066}",
    ];
    let own = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap();
    for text in SEQUENCES {
        let (header, turns) = conversation(text);
        let plain = Terminal::new(40).full_tools(true);
        let shown = on_terminal(&header, &turns, &plain);
        assert_eq!(shown, turnkeep_model::visible_lines(&shown), "{text:?}");

        let colored = on_terminal(&header, &turns, &plain.clone().colors(true));
        let colored = own.replace_all(&colored, "");
        assert_eq!(colored, turnkeep_model::visible_lines(&colored), "{text:?}");

        let page = page(&header, &turns);
        assert_eq!(page, turnkeep_model::visible_lines(&page), "{text:?}");
    }
}

#[test]
fn long_and_deep_texts_keep_their_words_and_stay_in_proportion() {
    let repeated = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    let texts = [
        repeated("word ", 10_000_000),
        repeated("x", 300_000),
        repeated("日本", 300_000),
        (0..1_500)
            .map(|depth| format!("{}- a\n", "  ".repeat(depth)))
            .collect(),
        (1..600).map(|length| "`".repeat(length) + " ").collect(),
        format!(
            "{}\n{}\n{}",
            repeated("|a", 2_000),
            repeated("|-", 2_000),
            repeated("|\n", 100_000)
        ),
        repeated("[a]: b\n", 1_000) + &repeated("[a] ", 100_000),
        repeated("```rust\nfn f() {\n```\n", 20_000),
        format!("```js\n{}\n```", repeated("`${\n", 4_000)),
        format!("```html\n{}\n```", repeated("<script>\n", 8_000)),
    ];
    let pieces = [
        "> ",
        "- ",
        "1. ",
        "[",
        "![",
        "[a](",
        "*a **b ",
        "_a",
        "`a``b",
        "<",
        "<!--",
        "<a ",
        "&",
        "\\",
        "|",
        "[a]: b\n",
        "a\u{301}",
        "\u{1f469}\u{200d}",
        "~~a",
        "# ",
        "a\n-\n",
    ];
    let texts = texts
        .into_iter()
        .chain(pieces.map(|piece| repeated(piece, 50_000)));
    for text in texts {
        let header = Header::new("x");
        let turns = [Turn::new(1, Role::Assistant, at("28T14:02"), text.as_str())];
        let shown = on_terminal(&header, &turns, &Terminal::new(80).colors(true));
        let forms = [shown, page(&header, &turns), as_markdown(&header, &turns)];
        let words = |text: &str| text.matches(['w', 'x', '日']).count();
        for form in forms {
            assert!(words(&form) >= words(&text));
            assert!(form.len() < 40 * text.len() + 20_000);
        }
    }
}

#[test]
fn a_folded_tool_call_is_one_line_of_the_terminal() {
    let texts = [
        "x".repeat(70_000),
        "日本語".repeat(100),
        "👩\u{200d}💻".repeat(100),
    ];
    for width in [40, 80, 200] {
        for text in &texts {
            let mut turn = Turn::new(1, Role::Assistant, at("28T14:02"), "");
            let tools = [(text.as_str(), text.as_str()), ("Bash", text), (text, "")];
            turn.tools = tools
                .map(|(name, input)| ToolCall::new(name, input, None))
                .into();
            let shown = on_terminal(&Header::new("x"), &[turn], &Terminal::new(width));
            let calls: Vec<_> = shown.lines().filter(|line| line.contains('▸')).collect();
            assert_eq!(calls.len(), 3);
            assert!(calls.iter().all(|line| line.width() <= width), "{shown}");
        }
    }
}

/// Texts of random marks find what nobody thinks of.
#[test]
fn texts_of_random_marks_stay_texts() {
    const MARKS: &[&str] = &[
        "a",
        " ",
        "\n",
        "\n\n",
        "    ",
        "\t",
        "> ",
        "- ",
        "1. ",
        "# ",
        "```",
        "```rust",
        "~~~",
        "`",
        "``",
        "*",
        "**",
        "_",
        "~~",
        "[",
        "](",
        ")",
        "![",
        "]: ",
        "<b>",
        "</b>",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "<![CDATA[",
        "<?",
        "&lt;",
        "&#27;",
        "\\",
        "|",
        "|-|\n",
        "---\n",
        "===\n",
        "https://a.example/",
        "javascript:x",
        "\"",
        "'",
        "\x1b[2J",
        "\0",
        "\r\n",
        "é",
        "日",
        "\u{202e}",
        "👩\u{200d}💻",
        "- [x] ",
        "{",
        "}",
        "fn f() {",
        "//",
    ];
    // A linear congruential generator: the same texts in each run.
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for _ in 0..1_000 {
        let text: String = (0..1 + random(40))
            .map(|_| MARKS[random(MARKS.len())])
            .collect();
        let header = Header::new(text.as_str());
        let turns = [Role::Assistant, Role::User]
            .map(|role| Turn::new(1, role, at("28T14:02"), text.as_str()));
        let shown = on_terminal(&header, &turns, &Terminal::new(1 + random(60)));
        assert_eq!(shown, turnkeep_model::visible_lines(&shown), "{text:?}");
        assert_contained(&page(&header, &turns));
        let document = as_markdown(&header, &turns);
        assert_contained_document(&document);
        assert_eq!(high_headings(&document), 3, "{text:?}");
    }
}

#[test]
fn a_failing_output_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (header, turns) = conversation("# a");
    assert!(html::page(&header, &turns, &mut Full).is_err());
    assert!(markdown::turn(&turns[1], &mut Full).is_err());
    assert!(Terminal::new(80).turn(&turns[1], &mut Full).is_err());
}
