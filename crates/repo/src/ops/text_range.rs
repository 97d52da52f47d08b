use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};
use turnkeep_schema::tasks;

use super::Db;
use crate::base::text_range::TextRange;

type Condition<T> = Box<dyn BoxableExpression<T, Db, SqlType = Nullable<Bool>>>;

/// Whether a column of a table is in one of the ranges.
pub(crate) fn is_in<T: 'static>(column: &str, ranges: &[TextRange]) -> Condition<T> {
    any_in(["", column, ""], ranges)
}

/// Whether a column of the current session of a row of `tasks` is in one of the ranges.
pub(crate) fn has_session_in(column: &str, ranges: &[TextRange]) -> Condition<tasks::table> {
    let before = "EXISTS (SELECT 1 FROM sessions WHERE sessions.task_id = tasks.id AND ";
    any_in([before, column, ")"], ranges)
}

fn any_in<T: 'static>([before, column, after]: [&str; 3], ranges: &[TextRange]) -> Condition<T> {
    let one = |range: &TextRange| -> Condition<T> {
        let low = sql(&format!("{before}{column} >= ")).bind::<Text, _>(range.low.clone());
        let high = low
            .sql(&format!(" AND {column} < "))
            .bind::<Text, _>(range.high.clone());
        Box::new(high.sql(after))
    };
    let any = ranges
        .iter()
        .map(one)
        .reduce(|any, one| Box::new(any.or(one)));
    any.unwrap_or_else(|| Box::new(sql("false")))
}
