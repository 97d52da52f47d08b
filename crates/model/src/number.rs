/// Declares a newtype of a number that counts up in the database: checked by its constructors, stored as BIGINT.
///
/// The limit, 2^53 − 1, is the one of the CHECK constraints. Every JSON reader keeps integers up to it exact.
macro_rules! number {
    ($(#[$docs:meta])* $name:ident, $field:literal, from $min:literal) => {
        $(#[$docs])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            ::diesel::expression::AsExpression, ::diesel::deserialize::FromSqlRow,
        )]
        #[diesel(sql_type = ::diesel::sql_types::BigInt)]
        pub struct $name(i64);

        impl $name {
            /// The lowest number.
            pub const MIN: Self = Self($min);

            /// The highest number, 2^53 − 1.
            pub const MAX: Self = Self((1 << 53) - 1);

            /// Checks a number.
            ///
            /// # Errors
            /// [`InvalidValue`](crate::InvalidValue) if the number is not [`MIN`](Self::MIN) to
            /// [`MAX`](Self::MAX).
            pub fn new(number: i64) -> Result<Self, $crate::InvalidValue> {
                if (Self::MIN.0..=Self::MAX.0).contains(&number) {
                    return Ok(Self(number));
                }
                let reason = format!("{number} is outside {} to {}", Self::MIN, Self::MAX);
                Err($crate::InvalidValue::new($field, reason))
            }

            /// Returns the number.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = $crate::InvalidValue;

            fn try_from(number: i64) -> Result<Self, $crate::InvalidValue> {
                Self::new(number)
            }
        }

        impl From<$name> for i64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl PartialEq<i64> for $name {
            fn eq(&self, number: &i64) -> bool {
                self.0 == *number
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::InvalidValue;

            fn from_str(text: &str) -> Result<Self, $crate::InvalidValue> {
                let number = text.parse().map_err(|_| $crate::InvalidValue::new($field, "is no number"))?;
                Self::new(number)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<DB: ::diesel::backend::Backend> ::diesel::serialize::ToSql<::diesel::sql_types::BigInt, DB> for $name
        where
            i64: ::diesel::serialize::ToSql<::diesel::sql_types::BigInt, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut ::diesel::serialize::Output<'b, '_, DB>) -> ::diesel::serialize::Result {
                self.0.to_sql(out)
            }
        }

        impl<DB: ::diesel::backend::Backend> ::diesel::deserialize::FromSql<::diesel::sql_types::BigInt, DB> for $name
        where
            i64: ::diesel::deserialize::FromSql<::diesel::sql_types::BigInt, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> ::diesel::deserialize::Result<Self> {
                Ok(Self::new(i64::from_sql(value)?)?)
            }
        }

        #[cfg(feature = "serde")]
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i64(self.0)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(::serde::Deserialize::deserialize(deserializer)?).map_err(::serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use number;
