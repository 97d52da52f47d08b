/// Replaces each lone surrogate in the escapes of a JSON text by U+FFFD, as programs in JavaScript read it.
/// They write one where they cut a text inside a character. A JSON parser in Rust refuses it.
pub(crate) fn replace_lone(json: &str) -> String {
    let mut bytes = json.as_bytes().to_vec();
    let mut at = 0;
    while let Some(backslash) = bytes[at..].iter().position(|&byte| byte == b'\\') {
        let start = at + backslash;
        at = match unit(&bytes, start) {
            Some(0xD800..=0xDBFF) if matches!(unit(&bytes, start + 6), Some(0xDC00..=0xDFFF)) => {
                start + 12
            }
            Some(0xD800..=0xDFFF) => {
                bytes[start..start + 6].copy_from_slice(br"\ufffd");
                start + 6
            }
            // An escaped backslash must not be taken for the start of the next escape.
            _ => (start + 2).min(bytes.len()),
        };
    }
    // Only whole escapes were replaced, by as many bytes of ASCII.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Returns the UTF-16 unit of the escape `\uXXXX` at an index.
fn unit(bytes: &[u8], start: usize) -> Option<u16> {
    let digits = bytes.get(start..start + 6)?.strip_prefix(br"\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (json, replaced) in [
            (r#""\ud82d""#, r#""\ufffd""#),
            (r#""\udc00x""#, r#""\ufffdx""#),
            (r#""\ud83d\ude80""#, r#""\ud83d\ude80""#),
            (r#""\ud83d\ud83d\ude80""#, r#""\ufffd\ud83d\ude80""#),
            (r#""\\ud82d \n\"""#, r#""\\ud82d \n\"""#),
            (r#""\\\uDBFF""#, r#""\\\ufffd""#),
            (r#""ü\ud82"#, r#""ü\ud82"#),
            (r"\", r"\"),
        ] {
            assert_eq!(replace_lone(json), replaced);
        }
    }
}
