use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::sql_types::BigInt;

use crate::InvalidValue;

/// A `seq`, `revision` or `fence` in the database: 0 to 2^53 − 1.
///
/// Every JSON reader keeps integers of this range exact. Rows have `i64`; this type converts to and from the
/// BIGINT column and checks numbers from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromSqlRow)]
pub struct Counter(i64);

impl Counter {
    /// 2^53 − 1, as in the CHECK constraints.
    pub const MAX: i64 = (1 << 53) - 1;

    /// Checks a number. `field` names the counter in the error.
    ///
    /// # Errors
    /// [`InvalidValue`] if the number is negative or above [`MAX`](Self::MAX).
    ///
    /// ```
    /// use turnkeep_model::Counter;
    ///
    /// assert!(Counter::new("fence", Counter::MAX).is_ok());
    /// assert!(Counter::new("fence", Counter::MAX + 1).is_err());
    /// assert!(Counter::new("fence", -1).is_err());
    /// ```
    pub fn new(field: &'static str, number: i64) -> Result<Self, InvalidValue> {
        if (0..=Self::MAX).contains(&number) {
            return Ok(Self(number));
        }
        let reason = format!("{number} is outside 0 to {}", Self::MAX);
        Err(InvalidValue::new(field, reason))
    }
}

impl From<Counter> for i64 {
    fn from(counter: Counter) -> Self {
        counter.0
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Counter
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::new("counter", i64::from_sql(value)?)?)
    }
}
