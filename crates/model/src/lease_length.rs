use std::time::Duration;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::BigInt;

use crate::InvalidValue;

/// The length of a lease: 1 microsecond to 24 hours, in whole microseconds.
///
/// ```
/// use std::time::Duration;
/// use turnkeep_model::LeaseLength;
///
/// let length = LeaseLength::new(Duration::from_secs(30))?;
/// assert_eq!(Duration::from(length), Duration::from_secs(30));
/// assert!(LeaseLength::new(Duration::ZERO).is_err());
/// # Ok::<(), turnkeep_model::InvalidValue>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct LeaseLength(i64);

impl LeaseLength {
    /// 24 hours, as in the CHECK constraints. The task of a lost worker should be free much earlier.
    pub const MAX: Self = Self(24 * 60 * 60 * 1_000_000);

    /// Makes one from a duration, rounded down to a microsecond.
    ///
    /// # Errors
    /// [`InvalidValue`] if the length is not 1 microsecond to 24 hours.
    pub fn new(length: Duration) -> Result<Self, InvalidValue> {
        // Compare before rounding: a nanosecond above the limit is too long.
        match length > Duration::from(Self::MAX) {
            true => Err(Self::invalid()),
            false => {
                i64::try_from(length.as_micros()).map_or(Err(Self::invalid()), Self::from_micros)
            }
        }
    }

    /// Makes one from microseconds.
    ///
    /// # Errors
    /// [`InvalidValue`] if the length is not 1 microsecond to 24 hours.
    pub fn from_micros(micros: i64) -> Result<Self, InvalidValue> {
        match (1..=Self::MAX.0).contains(&micros) {
            true => Ok(Self(micros)),
            false => Err(Self::invalid()),
        }
    }

    /// Returns the length in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    fn invalid() -> InvalidValue {
        InvalidValue::new("lease", "must be a microsecond to 24 hours long")
    }
}

impl From<LeaseLength> for Duration {
    fn from(length: LeaseLength) -> Self {
        Self::from_micros(length.0.unsigned_abs())
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for LeaseLength
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for LeaseLength
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::from_micros(i64::from_sql(value)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_a_microsecond_to_24_hours_long() {
        let day = Duration::from_secs(24 * 60 * 60);
        let nano = Duration::from_nanos(1);
        for (length, micros) in [
            (Duration::from_micros(1), Some(1)),
            (Duration::from_micros(2) - nano, Some(1)),
            (day, Some(86_400_000_000)),
            (day + nano, None),
            (Duration::from_micros(1) - nano, None),
            (Duration::MAX, None),
        ] {
            let made = LeaseLength::new(length).ok();
            assert_eq!(made.map(LeaseLength::as_micros), micros, "{length:?}");
        }
    }
}
