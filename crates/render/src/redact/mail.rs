//! E-mail addresses.

use std::sync::LazyLock;

use super::{Pattern, Rule};

/// The pattern of [`RULES`]. The `n` of an escaped line break is no letter of an address.
pub(super) const PATTERNS: [Pattern; 1] = [(
    r"(?x)
    (?: \\[nrt] )?
    (
        [A-Za-z0-9\u{c0}-\u{24f}._%+-]+ (?: @ | %40 )
        [A-Za-z0-9\u{c0}-\u{24f}-]+ (?: \. [A-Za-z0-9\u{c0}-\u{24f}-]+ )* \. [A-Za-z]{2,24}
    )",
    is_of_person,
)];

pub(super) static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| Rule::list(&PATTERNS));

/// Whether it is no address of a repository (`git@github.com`), no unit (`getty@tty1.service`), no picture
/// (`logo@2x.png`) and no version (`react@19.0.0-rc.next`).
fn is_of_person(address: &str) -> bool {
    const OTHERS: [&str; 16] = [
        "service", "socket", "timer", "target", "mount", "slice", "png", "jpg", "jpeg", "gif",
        "svg", "webp", "css", "js", "json", "html",
    ];
    let domain = address.split_once('@').map_or("", |(_, domain)| domain);
    let end = domain.rsplit('.').next().unwrap_or_default();
    let begin = domain.split('.').next().unwrap_or_default();
    let is_number = !begin.is_empty() && begin.bytes().all(|byte| byte.is_ascii_digit());
    !address.starts_with("git@") && !OTHERS.contains(&end) && !is_number
}
