/// Whether the metadata of a row of `tasks` have a text at a key: SQL around the key and the text. A damaged row has
/// none. A number or a boolean is no text to SQLite either.
pub(crate) const HAS_TEXT: [&str; 3] = [
    "EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(tasks.metadata) THEN tasks.metadata END) \
     WHERE key = ",
    " AND atom = ",
    ")",
];
