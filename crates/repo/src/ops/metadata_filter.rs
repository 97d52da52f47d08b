use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};
use turnkeep_schema::tasks;

use super::super::metadata::HAS_TEXT;
use super::Db;
use crate::base::metadata_filter::MetadataFilter;

/// A condition on a row of `tasks`.
pub(crate) type Condition = Box<dyn BoxableExpression<tasks::table, Db, SqlType = Nullable<Bool>>>;

/// Whether the metadata of a row of `tasks` meet a filter.
pub(crate) fn has_metadata(filter: &MetadataFilter) -> Condition {
    let [before, between, after] = HAS_TEXT;
    let mut all: Condition = Box::new(sql("true"));
    for (key, value) in &filter.0 {
        // No metadata have U+0000, and PostgreSQL takes no text with it.
        let one: Condition = match key.contains('\0') || value.contains('\0') {
            true => Box::new(sql("false")),
            false => Box::new(
                sql(before)
                    .bind::<Text, _>(key.clone())
                    .sql(between)
                    .bind::<Text, _>(value.clone())
                    .sql(after),
            ),
        };
        all = Box::new(all.and(one));
    }
    all
}
