//! Parses ages, sizes and times.

use std::time::Duration;

use turnkeep_repo::chrono::{DateTime, Utc};

const AGES: [(&str, u64); 5] = [
    ("s", 1),
    ("m", 60),
    ("h", 60 * 60),
    ("d", 24 * 60 * 60),
    ("w", 7 * 24 * 60 * 60),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Parses an age: `30d`.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    number_of(text, &AGES).map(Duration::from_secs)
}

/// Parses a time: `2026-12-01T08:00:00Z`.
pub(crate) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(DateTime::into)
        .map_err(|_| "is no time such as 2026-12-01T08:00:00Z".into())
}

/// Parses a size: `2GB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    number_of(text, &SIZES)
}

fn number_of(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim();
    let found = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let Some((_, factor)) = found else {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "a number with one of {} is needed",
            names.join(", ")
        ));
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{digits}` is not a whole number"))?;
    number
        .checked_mul(*factor)
        .ok_or_else(|| "the number is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_needs_a_unit() {
        let day = 24 * 60 * 60;
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * day)));
        assert_eq!(age("2 w"), Ok(Duration::from_secs(14 * day)));
        assert_eq!(age("0s"), Ok(Duration::ZERO));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        assert_eq!(size("2gib"), Ok(2 << 30));
        assert_eq!(size("7b"), Ok(7));
        for odd in [
            "",
            "d",
            "30",
            "-1d",
            "1.5d",
            "30x",
            "d30",
            "99999999999999999999d",
            "1d2h",
        ] {
            assert!(age(odd).is_err(), "{odd}");
        }
        assert!(size("99999999999TB").is_err());
    }
}
