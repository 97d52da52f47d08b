//! Times as people say them, in the time zone of this machine.

use chrono::{
    DateTime, Days, Local, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Timelike as _, Utc,
};

use crate::units;

/// Parses the beginning of a span: a day from its midnight on, an age before now, or a time.
pub(crate) fn since(text: &str) -> Result<DateTime<Utc>, String> {
    parse(text, 0)
}

/// Parses the end of a span: a day to its end, an age before now, or a time.
pub(crate) fn until(text: &str) -> Result<DateTime<Utc>, String> {
    parse(text, 1)
}

/// Parses an age, and returns the time that long ago.
pub(crate) fn before(text: &str) -> Result<DateTime<Utc>, String> {
    let age = TimeDelta::from_std(units::age(text)?).ok();
    let time = age.and_then(|age| Utc::now().checked_sub_signed(age));
    time.ok_or_else(|| "the age is too large".to_owned())
}

/// Parses a time. Of a day, it is the midnight before, or so many days later.
fn parse(text: &str, days: u64) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = units::time(text) {
        return Ok(time);
    }
    let invalid =
        || "is no day (2026-02-03, today), age (12h, 7d) or time (2026-02-03T08:00:00Z)".to_owned();
    let today = Local::now().date_naive();
    let day = match text {
        "today" => Some(today),
        "yesterday" => today.pred_opt(),
        day => NaiveDate::parse_from_str(day, "%Y-%m-%d").ok(),
    };
    let time = match day {
        Some(day) => day.checked_add_days(Days::new(days)).and_then(midnight),
        None => before(text).ok(),
    };
    time.ok_or_else(invalid)
}

/// Returns the beginning of a day. Where the clock is set forward at midnight, that is the first minute that it shows.
fn midnight(day: NaiveDate) -> Option<DateTime<Utc>> {
    let midnight = day.and_time(NaiveTime::MIN);
    let minutes = (0..=1_440).map_while(|it| midnight.checked_add_signed(TimeDelta::minutes(it)));
    let mut shown = minutes.filter_map(|it| Local.from_local_datetime(&it).earliest());
    shown.next().map(Into::into)
}

/// Writes a time in the zone of this machine: `2026-02-03 08:00`. Several times as fast as chrono's formats.
pub(crate) fn in_minutes(time: DateTime<Utc>) -> String {
    let local = time.with_timezone(&Local);
    let (hour, minute) = (local.hour(), local.minute());
    format!("{} {hour:02}:{minute:02}", local.date_naive())
}

/// Says how long ago a time was, of the last seven days. Else it is a day.
pub(crate) fn in_words(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let ago = now - time;
    match ago.num_minutes() {
        _ if ago < TimeDelta::zero() || ago.num_days() >= 7 => {
            time.with_timezone(&Local).date_naive().to_string()
        }
        0 => "just now".into(),
        minutes @ ..60 => format!("{minutes} min ago"),
        minutes @ ..1_440 => format!("{} h ago", minutes / 60),
        minutes if minutes < 2_880 => "1 day ago".into(),
        minutes => format!("{} days ago", minutes / 1_440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_ages_and_times_are_times() {
        let day = |text| since(text).unwrap();
        assert_eq!(until("2026-02-03").unwrap(), day("2026-02-04"));
        assert_eq!(until("yesterday").unwrap(), day("today"));
        assert_eq!(
            day("2026-02-03T08:00:00Z").to_rfc3339(),
            "2026-02-03T08:00:00+00:00"
        );
        let before = day("7d");
        assert_eq!((Utc::now() - before).num_days(), 7);
        for odd in ["", "tomorrow", "2026-13-01", "7", "-7d", "9999999999w"] {
            assert!(since(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn minutes_are_written_as_chrono_writes_them() {
        for time in ["0042-01-02T03:04:05Z", "2026-12-31T23:59:59Z"] {
            let time = units::time(time).unwrap();
            let expected = time.with_timezone(&Local).format("%Y-%m-%d %H:%M");
            assert_eq!(in_minutes(time), expected.to_string());
        }
    }

    #[test]
    fn the_last_days_are_counted_from_now() {
        let now = Utc::now();
        for (seconds, words) in [
            (0, "just now"),
            (119, "1 min ago"),
            (3_599, "59 min ago"),
            (7_300, "2 h ago"),
            (90_000, "1 day ago"),
            (604_799, "6 days ago"),
        ] {
            assert_eq!(in_words(now - TimeDelta::seconds(seconds), now), words);
        }
        for seconds in [-60, 604_800] {
            assert_eq!(in_words(now - TimeDelta::seconds(seconds), now).len(), 10);
        }
    }
}
