use chrono::{DateTime, Datelike, Utc};

/// Parses RFC 3339. Returns `None` for another format and for years outside 0 to 9999.
pub(crate) fn from_rfc3339(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    in_range(time.with_timezone(&Utc))
}

/// Converts the time of a Goose message: milliseconds if the number is above 10^10, otherwise seconds.
pub(crate) fn from_goose(number: i64) -> Option<DateTime<Utc>> {
    if number > 10_000_000_000 {
        return from_millis(number);
    }
    in_range(DateTime::from_timestamp(number, 0)?)
}

pub(crate) fn from_millis(number: i64) -> Option<DateTime<Utc>> {
    in_range(DateTime::from_timestamp_millis(number)?)
}

fn in_range(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (0..=9999).contains(&time.year()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_utc_and_invalid_ones_none() {
        let time = from_rfc3339("2026-10-02T09:00:00.250+02:00").unwrap();
        assert_eq!(time.to_rfc3339(), "2026-10-02T07:00:00.250+00:00");
        assert_eq!(from_rfc3339("0000-01-01T00:00:00+01:00"), None, "year -1");
        assert_eq!(from_rfc3339("yesterday"), None);
        assert_eq!(from_goose(i64::MAX), None);
        assert_eq!(from_goose(i64::MIN), None);
    }

    #[test]
    fn goose_times_are_seconds_or_milliseconds() {
        let seconds = from_goose(1_791_190_800).unwrap();
        assert_eq!(from_goose(1_791_190_800_000), Some(seconds));
        assert_eq!(from_goose(10_000_000_000).unwrap().year(), 2286);
    }
}
