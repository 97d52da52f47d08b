//! The rows of the index that match a query.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;
use turnkeep_model::{BackendType, Seq, TaskId, UtcMicros, WorkingDir};

use crate::error::Result;
use crate::expression::Expression;
use crate::file::IndexFile;
use crate::query::Query;

/// The most turns that are ranked. Of more, the rank of a word that is almost everywhere says little, and takes a
/// microsecond each.
const MAX_RANKED: i64 = 20_000;

/// The tables of a kind of texts.
pub(crate) struct Kind {
    /// The name of the full-text table.
    words: &'static str,
    /// The table that has a row for each of its rows.
    table: &'static str,
    columns: &'static str,
}

pub(crate) const TURNS: Kind = Kind {
    words: "words",
    table: "turns",
    columns: "turns.seq",
};

pub(crate) const CALLS: Kind = Kind {
    words: "call_words",
    table: "calls",
    columns: "calls.task, calls.number, calls.time",
};

/// A text that matches a query.
#[derive(QueryableByName)]
pub(crate) struct Found<P> {
    #[diesel(sql_type = Text)]
    pub(crate) id: TaskId,
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) agent: Option<BackendType>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) folder: Option<WorkingDir>,
    #[diesel(embed)]
    pub(crate) place: P,
}

#[derive(QueryableByName)]
pub(crate) struct OfTurn {
    #[diesel(sql_type = BigInt)]
    pub(crate) seq: Seq,
}

#[derive(QueryableByName)]
pub(crate) struct OfCall {
    #[diesel(sql_type = BigInt)]
    pub(crate) task: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) number: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(crate) time: Option<UtcMicros>,
}

#[derive(QueryableByName)]
pub(crate) struct Count {
    #[diesel(sql_type = BigInt)]
    pub(crate) count: i64,
}

/// A condition in SQL, with the values of its question marks.
struct Condition {
    sql: String,
    values: Vec<Value>,
}

enum Value {
    Text(String),
    Number(i64),
}

/// Returns the first matches in the index, which may be hidden or gone in the store.
pub(crate) fn find<P: QueryableByName<Sqlite> + 'static>(
    file: &mut IndexFile,
    query: &Query,
    expression: &Expression,
    kind: &Kind,
    limit: u32,
) -> Result<Vec<Found<P>>> {
    let Kind {
        words,
        table,
        columns,
    } = kind;
    let conditions = conditions(query, expression, kind);
    let all: Vec<_> = conditions.iter().map(|it| &*it.sql).collect();
    // CROSS JOIN keeps the order of the tables, so that the words are looked up once and not for each text of a task.
    let matching = format!(
        "FROM {words} CROSS JOIN {table} ON {table}.row = {words}.rowid \
         CROSS JOIN tasks ON tasks.number = {table}.task WHERE {}",
        all.join(" AND ")
    );
    let bound = |sql: String| {
        let mut bound = diesel::sql_query(sql).into_boxed::<Sqlite>();
        for value in conditions.iter().flat_map(|it| &it.values) {
            bound = match value {
                Value::Text(text) => bound.bind::<Text, _>(text),
                Value::Number(number) => bound.bind::<BigInt, _>(number),
            };
        }
        bound
    };
    file.read(|conn| {
        let some = format!("SELECT 1 {matching} LIMIT {MAX_RANKED} + 1");
        let Count { count } =
            bound(format!("SELECT count(*) AS count FROM ({some})")).get_result(conn)?;
        // A score has one decimal, so that texts of about the same rank are sorted by time.
        let rank = match count <= MAX_RANKED {
            true => format!("round({words}.rank, 1), "),
            false => String::new(),
        };
        let sorted = format!(
            "SELECT tasks.id, tasks.name, tasks.agent, tasks.folder, {columns} {matching} \
             ORDER BY {rank}{table}.time DESC, {table}.row DESC LIMIT {limit}"
        );
        bound(sorted).load(conn)
    })
}

fn conditions(query: &Query, expression: &Expression, kind: &Kind) -> Vec<Condition> {
    let Kind { words, table, .. } = kind;
    let text = |sql: String, value: &str| Condition {
        sql,
        values: vec![Value::Text(value.to_owned())],
    };
    let time = |sql: String, value: DateTime<Utc>| Condition {
        sql,
        values: vec![Value::Number(value.timestamp_micros())],
    };
    let matches = text(format!("{words} MATCH ?"), &expression.matches);
    let others = [
        query
            .backend
            .as_ref()
            .map(|it| text("tasks.agent = ?".into(), it.as_str())),
        query
            .task
            .as_ref()
            .map(|it| text("tasks.id = ?".into(), it.as_str())),
        query
            .role
            .map(|it| text(format!("{table}.role = ?"), it.as_str())),
        query.since.map(|it| time(format!("{table}.time >= ?"), it)),
        query.until.map(|it| time(format!("{table}.time < ?"), it)),
        (!query.folders.is_empty()).then(|| in_folders(&query.folders)),
    ];
    let others = others.into_iter().flatten();
    [matches].into_iter().chain(others).collect()
}

/// Returns the condition that a task has one of these folders or one below it.
fn in_folders(folders: &[WorkingDir]) -> Condition {
    let mut alternatives = Vec::new();
    let mut values = Vec::new();
    for folder in folders {
        let separators = separators(folder);
        let folder = folder.as_str().trim_end_matches(separators);
        alternatives.push("tasks.folder = ?");
        values.push(Value::Text(folder.to_owned()));
        for separator in separators {
            alternatives.push("instr(tasks.folder, ?) = 1");
            values.push(Value::Text(format!("{folder}{separator}")));
        }
    }
    Condition {
        sql: format!("({})", alternatives.join(" OR ")),
        values,
    }
}

/// Returns the characters between the names in a folder. As in a list of the store, a folder that begins with `/` may have
/// names with a backslash.
fn separators(folder: &WorkingDir) -> &'static [char] {
    match folder.as_str().starts_with('/') {
        true => &['/'],
        false => &['/', '\\'],
    }
}
