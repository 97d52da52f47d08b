use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::sql_types::BigInt;

use crate::InvalidValue;

/// A `seq`, `revision` or `fence` as the database keeps it: 0 to 2^53 − 1.
///
/// Every JSON reader keeps an integer of that range exact. Rows hand out `i64`; this type stands
/// between it and the BIGINT column, and every number that comes from outside passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromSqlRow)]
pub struct Counter(i64);

impl Counter {
    /// 2^53 − 1, the bound of the CHECKs too.
    pub const MAX: i64 = (1 << 53) - 1;

    /// Takes a number, and the name of the counter for the error.
    ///
    /// # Errors
    /// [`InvalidValue`] when the number is negative or above [`MAX`](Self::MAX).
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
