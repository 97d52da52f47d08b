//! Words whose letters are in a random order.

use std::sync::LazyLock;

use super::{Pattern, Rule};

/// The patterns of [`RULES`].
pub(super) const PATTERNS: [Pattern; 2] = [
    // Base64 has slashes, as paths have.
    (r"[A-Za-z0-9+/]{40,}={0,2}", is_base64),
    (r"[A-Za-z0-9+_=-]{20,}", looks_random),
];

pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| Rule::list(&PATTERNS));

fn is_base64(word: &str) -> bool {
    let word = word.trim_end_matches('=');
    let mut parts = word.split('/');
    let is_path = parts.any(|it| it.len() > 3 && it.bytes().all(|byte| byte.is_ascii_lowercase()));
    let is_of = |is_of: fn(&u8) -> bool| word.as_bytes().iter().any(is_of);
    let has_both_cases = is_of(u8::is_ascii_uppercase) && is_of(u8::is_ascii_lowercase);
    has_both_cases && !is_path && is_mixed(word)
}

/// Whether a part of the word is hexadecimal and long, or has letters and digits in a random order.
fn looks_random(word: &str) -> bool {
    let mut parts = word.split(['-', '_', '=']);
    parts.any(|part| is_hexadecimal(part) || is_mixed(part))
}

fn is_hexadecimal(part: &str) -> bool {
    part.len() >= 32
        && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// In a random word of both cases and digits the kind of character changes at 62 of 100 places, and at 40 in one of
/// one case and digits. In names it changes at every third place or less often.
fn is_mixed(part: &str) -> bool {
    let part = part.as_bytes();
    let count = |is_of: fn(&u8) -> bool| part.iter().filter(|byte| is_of(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let has_both_cases = count(u8::is_ascii_uppercase) > 0 && count(u8::is_ascii_lowercase) > 0;
    let kind = |byte: &u8| {
        (
            byte.is_ascii_digit(),
            byte.is_ascii_uppercase(),
            byte.is_ascii_lowercase(),
        )
    };
    let changes = part
        .windows(2)
        .filter(|pair| kind(&pair[0]) != kind(&pair[1]))
        .count();
    let (most_in_names, fewest_digits) = if has_both_cases {
        (40, 2)
    } else {
        (25, part.len() / 8)
    };
    part.len() >= 20 && digits >= fewest_digits && changes * 100 > part.len() * most_in_names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_random_words_look_random() {
        // A linear congruential generator: the same words in each run.
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        for (letters, length, is_meant) in [
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                24,
                looks_random as fn(&str) -> bool,
            ),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                43,
                looks_random,
            ),
            ("abcdefghijklmnopqrstuvwxyz0123456789", 32, looks_random),
            ("0123456789abcdef", 32, looks_random),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                40,
                is_base64,
            ),
        ] {
            let mut word = || -> String {
                let letters = letters.as_bytes();
                (0..length)
                    .map(|_| char::from(letters[random(letters.len())]))
                    .collect()
            };
            let found = (0..1_000).filter(|_| is_meant(&word())).count();
            assert!(found > 800, "{found} of {letters}");
        }
    }
}
