//! Targets of links.

use turnkeep_model::visible;

use crate::text::first_line;

/// Returns the target of a link that a browser may open.
pub(crate) fn web_target(target: &str) -> Option<&str> {
    const SCHEMES: [&str; 3] = ["http://", "https://", "mailto:"];
    let is_of = |scheme: &&str| {
        let begin = target.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    // A browser drops tabs and line breaks of an address.
    let is_plain = visible(target) == target;
    (is_plain && SCHEMES.iter().any(is_of)).then_some(target)
}

/// Returns the target for people, cut to a length: an image may be in it.
pub(crate) fn shown_target(target: &str) -> String {
    first_line(target, 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_web_and_of_mail_are_opened() {
        for target in ["https://a.example/?q=1", "HTTP://a", "mailto:a@b.example"] {
            assert_eq!(web_target(target), Some(target));
        }
        for target in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "java\tscript:alert(1)",
            "\u{1}javascript:alert(1)",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:x",
            "file:///etc/passwd",
            "//a.example/x",
            "src/main.rs",
            "https",
            "ht\ntps://a",
            "https://a/\u{202e}x",
            "",
        ] {
            assert_eq!(web_target(target), None, "{target:?}");
        }
    }
}
