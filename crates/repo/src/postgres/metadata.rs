/// Whether the metadata of a row of `tasks` have a text at a key: SQL around the key and the text.
pub(crate) const HAS_TEXT: [&str; 3] = [
    "(tasks.metadata::pg_catalog.jsonb -> ",
    ") = pg_catalog.to_jsonb(",
    ")",
];
