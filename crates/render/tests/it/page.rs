//! Pages, read as a browser would.

use regex::Regex;
use sha2::{Digest as _, Sha256};
use turnkeep_model::Role;
use turnkeep_render::{Header, IndexEntry, Turn, html};

use crate::support::{at, header, turns};

pub(crate) fn page(header: &Header<'_>, turns: &[Turn<'_>]) -> String {
    let mut page = Vec::new();
    html::page(header, turns, &mut page).unwrap();
    String::from_utf8(page).unwrap()
}

pub(crate) fn index(entries: Vec<IndexEntry<'_>>) -> String {
    let mut page = Vec::new();
    html::index("Sessions", entries, &mut page).unwrap();
    String::from_utf8(page).unwrap()
}

/// Panics if the page has a tag or an attribute that the crate does not write.
pub(crate) fn assert_contained(page: &str) {
    let tag = Regex::new(concat!(
        r"^(?:!DOCTYPE html|/?(?:",
        "html|head|title|style|body|header|h[1-6]|dl|dt|dd|nav|details|summary|main|article|time|div|ol|ul|li|p|pre|",
        "code|span|b|strong|em|del|blockquote|table|thead|tbody|tr|th|td|small|a|script",
        r")|hr ?/|br ?/)$",
    ))
    .unwrap();
    let attribute = Regex::new(concat!(
        r#"^(?:dir=auto|open|hidden|(?:lang|class|id|datetime|start|data-text)="[^"]*""#,
        r##"|href="(?:#turn-\d+|\./[A-Za-z0-9._%-]+|(?i-u:https?://|mailto:)[^"]*)"|rel="noreferrer noopener")$"##,
    ))
    .unwrap();
    let attributes = Regex::new(r#"[^ ="]+(?:=(?:"[^"]*"|[^ "]+))?"#).unwrap();
    for piece in page.split('<').skip(1) {
        let markup = piece.split('>').next().unwrap();
        let (name, rest) = markup.split_once(' ').unwrap_or((markup, ""));
        if ["meta", "input"].contains(&name) {
            continue;
        }
        if markup == "!DOCTYPE html" || ["hr /", "br /"].contains(&markup) {
            continue;
        }
        assert!(tag.is_match(name), "<{markup}>");
        for found in attributes.find_iter(rest) {
            assert!(attribute.is_match(found.as_str()), "<{markup}>");
        }
    }
    let metas: Vec<_> = page.matches("<meta ").collect();
    assert_eq!(metas.len(), 6, "only those of the head");
}

fn hash(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for bytes in Sha256::digest(text).chunks(3) {
        let mut group = [0; 3];
        group[..bytes.len()].copy_from_slice(bytes);
        let [a, b, c] = group.map(usize::from);
        let digits = [
            a >> 2,
            (a & 3) << 4 | b >> 4,
            (b & 15) << 2 | c >> 6,
            c & 63,
        ];
        let digits = digits.iter().take(bytes.len() + 1);
        encoded.extend(digits.map(|digit| char::from(DIGITS[*digit])));
    }
    encoded + "="
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    text.split_once(begin).unwrap().1.split_once(end).unwrap().0
}

#[test]
fn the_policy_allows_only_the_style_and_the_script_of_the_page() {
    let entry = IndexEntry::new("a.html", header(), "");
    for page in [page(&header(), &turns()), index(vec![entry])] {
        let policy = between(
            &page,
            "http-equiv=\"Content-Security-Policy\" content=\"",
            "\"",
        );
        let style = hash(between(&page, "<style>", "</style>"));
        let mut expected = format!("default-src 'none'; style-src 'sha256-{style}'; ");
        if page.contains("<script>") {
            let script = hash(between(&page, "<script>", "</script>"));
            expected += &format!("script-src 'sha256-{script}'; ");
        }
        assert_eq!(policy, expected + "base-uri 'none'; form-action 'none'");
    }
}

#[test]
fn a_page_has_an_anchor_for_each_turn_and_the_prompts_as_contents() {
    let page = page(&header(), &turns());
    assert_contained(&page);
    for seq in 1..=4 {
        assert!(page.contains(&format!("<article id=\"turn-{seq}\"")));
    }
    let contents = between(&page, "<nav>", "</nav>");
    let links: Vec<_> = contents.matches("href=\"#turn-").collect();
    assert_eq!(links.len(), 2);
    assert!(
        contents.contains("href=\"#turn-4\" dir=auto>Thanks. Now the &lt;b&gt;docs&lt;/b&gt;?</a>")
    );
}

#[test]
fn a_page_without_turns_and_an_index_without_entries_are_pages() {
    for page in [page(&Header::new(""), &[]), index(vec![])] {
        assert!(page.ends_with("</body>\n</html>\n"));
    }
    let turn = Turn::new(1, Role::Assistant, at("28T14:02"), "");
    assert_contained(&page(&Header::new(""), &[turn]));
}

#[test]
fn the_index_finds_titles_folders_and_prompts_in_any_case() {
    let index = index(vec![IndexEntry::new(
        "../a b.html",
        header(),
        "Über \"Mondays\"",
    )]);
    assert_contained(&index);
    let text = between(&index, "data-text=\"", "\"");
    for word in [
        "fix the redirect",
        "claude",
        "~/work/shop",
        "über &quot;mondays&quot;",
    ] {
        assert!(text.contains(word), "{text}");
    }
    assert!(index.contains("href=\"./..%2Fa%20b.html\""));
}

/// The contrast of two colours as WCAG 2.2 defines it: 4.5 is enough for texts (AA).
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |color: &str| {
        // `#fff` is short for `#ffffff`.
        let digits: String = match color.len() {
            4 => color[1..]
                .chars()
                .flat_map(|digit| [digit, digit])
                .collect(),
            _ => color[1..].to_owned(),
        };
        let part = |at: usize| {
            let part = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
            match part <= 0.040_45 {
                true => part / 12.92,
                false => ((part + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn all_texts_have_enough_contrast_in_light_and_dark() {
    let page = page(&header(), &[]);
    let style = between(&page, "<style>", "</style>");
    let color = Regex::new("--([a-z]+): (#[0-9a-f]+);").unwrap();
    for palette in style.split(":root {").skip(1) {
        let palette = palette.split('}').next().unwrap();
        let colors = color.captures_iter(palette);
        let colors: Vec<_> = colors.map(|it| it.extract::<2>().1).collect();
        assert_eq!(colors.len(), 17);
        let of = |name: &str| colors.iter().find(|it| it[0] == name).unwrap()[1];
        let texts = colors
            .iter()
            .filter(|it| !["paper", "line", "box"].contains(&it[0]));
        for [name, text] in texts {
            for ground in ["paper", "box"] {
                let contrast = contrast(text, of(ground));
                assert!(contrast >= 4.5, "{name} on {ground}: {contrast:.2}");
            }
        }
    }
}
