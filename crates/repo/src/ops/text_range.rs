use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use super::Db;
use crate::base::text_range::TextRange;

type Condition<T> = Box<dyn BoxableExpression<T, Db, SqlType = Nullable<Bool>>>;

/// Whether a column of a table is in one of the ranges.
pub(crate) fn is_in<T: 'static>(column: &str, ranges: &[TextRange]) -> Condition<T> {
    let one = |range: &TextRange| -> Condition<T> {
        let low = sql(&format!("{column} >= ")).bind::<Text, _>(range.low.clone());
        let high = low.sql(&format!(" AND {column} < "));
        Box::new(high.bind::<Text, _>(range.high.clone()))
    };
    let any = ranges
        .iter()
        .map(one)
        .reduce(|any, one| Box::new(any.or(one)));
    any.unwrap_or_else(|| Box::new(sql("false")))
}
