use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Nullable};

use crate::InvalidValue;

/// A time in the database: whole microseconds, years 0000 to 9999.
///
/// Rows have [`DateTime<Utc>`]; this type converts to and from the BIGINT column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct UtcMicros(i64);

impl UtcMicros {
    /// 0000-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z, as in the CHECK constraints.
    const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;

    /// Makes one from a time, rounded down to a microsecond.
    ///
    /// # Errors
    /// [`InvalidValue`] if the year is outside 0000 to 9999, the range of RFC 3339.
    pub fn new(time: DateTime<Utc>) -> Result<Self, InvalidValue> {
        let micros = time.timestamp_micros();
        if !Self::RANGE.contains(&micros) {
            let reason = format!("{time:?} is outside the years 0 to 9999");
            return Err(InvalidValue::new("timestamp", reason));
        }
        Ok(Self(micros))
    }

    /// Returns the minute that it is in, counted from 1970.
    #[must_use]
    pub fn minute(self) -> i64 {
        self.0.div_euclid(60_000_000)
    }
}

/// For a row that is written. Only the database checks the range.
impl From<DateTime<Utc>> for UtcMicros {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl From<UtcMicros> for DateTime<Utc> {
    fn from(time: UtcMicros) -> Self {
        // Never the default: chrono's range includes this type's.
        DateTime::from_timestamp_micros(time.0).unwrap_or_default()
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for UtcMicros
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for UtcMicros
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let micros = i64::from_sql(value)?;
        if Self::RANGE.contains(&micros) {
            Ok(Self(micros))
        } else {
            let reason = format!("{micros} µs is outside the years 0 to 9999");
            Err(InvalidValue::new("timestamp", reason).into())
        }
    }
}

/// A nullable [`UtcMicros`] of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromSqlRow)]
pub struct OptionalUtcMicros(Option<UtcMicros>);

impl From<OptionalUtcMicros> for Option<DateTime<Utc>> {
    fn from(time: OptionalUtcMicros) -> Self {
        time.0.map(DateTime::from)
    }
}

impl From<Option<DateTime<Utc>>> for OptionalUtcMicros {
    fn from(time: Option<DateTime<Utc>>) -> Self {
        Self(time.map(UtcMicros::from))
    }
}

impl AsExpression<Nullable<BigInt>> for OptionalUtcMicros {
    type Expression = <Option<UtcMicros> as AsExpression<Nullable<BigInt>>>::Expression;

    fn as_expression(self) -> Self::Expression {
        self.0.as_expression()
    }
}

impl<DB: Backend> FromSql<Nullable<BigInt>, DB> for OptionalUtcMicros
where
    Option<UtcMicros>: FromSql<Nullable<BigInt>, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Option::from_sql(value).map(Self)
    }

    fn from_nullable_sql(value: Option<DB::RawValue<'_>>) -> deserialize::Result<Self> {
        Option::from_nullable_sql(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeDelta, TimeZone, Timelike};

    #[test]
    fn times_are_rounded_down_to_microseconds() {
        for (seconds, nanos, kept) in [(0, 0, 0), (1, 999_999_999, 999_999), (-1, 1_500, 1)] {
            let time = Utc.timestamp_opt(seconds, nanos).unwrap();
            let stored = UtcMicros::new(time).unwrap();
            assert_eq!(
                DateTime::<Utc>::from(stored),
                Utc.timestamp_opt(seconds, kept * 1_000).unwrap(),
            );
        }
    }

    #[test]
    fn the_range_is_the_years_0_to_9999() {
        let first = Utc.with_ymd_and_hms(0, 1, 1, 0, 0, 0).unwrap();
        let last = Utc.with_ymd_and_hms(9999, 12, 31, 23, 59, 59).unwrap();
        let last = last + TimeDelta::microseconds(999_999);
        for (time, micros) in [
            (first, *UtcMicros::RANGE.start()),
            (last, *UtcMicros::RANGE.end()),
        ] {
            assert_eq!(UtcMicros::new(time).unwrap().0, micros);
            assert_eq!(DateTime::from(UtcMicros(micros)), time);
        }
        assert!(UtcMicros::new(first - TimeDelta::microseconds(1)).is_err());
        assert!(UtcMicros::new(last + TimeDelta::microseconds(1)).is_err());
        let leap_second = last.with_nanosecond(1_500_000_000).unwrap();
        assert!(UtcMicros::new(leap_second).is_err());
    }
}
