/// Declares an enum that is stored as a short snake-case text per variant.
///
/// A renamed text needs a migration. An unknown text in a row is an error.
macro_rules! text_enum {
    (
        $(#[$docs:meta])*
        $name:ident, $field:literal, { $($(#[$variant_docs:meta])* $variant:ident = $text:literal,)+ }
    ) => {
        $(#[$docs])*
        #[expect(clippy::exhaustive_enums, reason = "the schema has the same list: a new text is a new schema")]
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            ::diesel::expression::AsExpression, ::diesel::deserialize::FromSqlRow,
        )]
        #[diesel(sql_type = ::diesel::sql_types::Text)]
        pub enum $name {
            $($(#[$variant_docs])* $variant,)+
        }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the text of the variant in the database and in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::InvalidValue;

            fn from_str(text: &str) -> Result<Self, $crate::InvalidValue> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::InvalidValue::new(
                        $field,
                        format!("is none of {}", [$($text),+].join(", ")),
                    )),
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl<DB: ::diesel::backend::Backend>
            ::diesel::serialize::ToSql<::diesel::sql_types::Text, DB> for $name
        where
            str: ::diesel::serialize::ToSql<::diesel::sql_types::Text, DB>,
        {
            fn to_sql<'b>(
                &'b self,
                out: &mut ::diesel::serialize::Output<'b, '_, DB>,
            ) -> ::diesel::serialize::Result {
                self.as_str().to_sql(out)
            }
        }

        impl<DB: ::diesel::backend::Backend>
            ::diesel::deserialize::FromSql<::diesel::sql_types::Text, DB> for $name
        where
            String: ::diesel::deserialize::FromSql<::diesel::sql_types::Text, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> ::diesel::deserialize::Result<Self> {
                Ok(String::from_sql(value)?.parse()?)
            }
        }
    };
}

pub(crate) use text_enum;
