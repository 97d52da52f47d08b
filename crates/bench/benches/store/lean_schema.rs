//! The leanest schema that could hold the rows of a store: the same columns, primary and foreign keys and unique
//! indexes, without CHECKs, triggers and other indexes. Made from the store itself, so that it follows each change.

use std::fs::File;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::sides::raw::Db;

/// The statements that make the tables of the attached store and copy their rows.
const TABLES: &str = r#"
WITH tables AS (
    SELECT name, wr FROM pragma_table_list WHERE schema = 'store' AND type = 'table' AND name NOT LIKE 'sqlite_%'
)
SELECT 'CREATE TABLE "' || name || '" ('
    || (SELECT group_concat(format('"%w" %s%s%s', name, type, iif("notnull", ' NOT NULL', ''),
            coalesce(' DEFAULT ' || dflt_value, '')), ', ' ORDER BY cid)
        FROM pragma_table_info(tables.name, 'store'))
    || (SELECT format(', PRIMARY KEY (%s)', group_concat(format('"%w"', name), ', ' ORDER BY pk))
        FROM pragma_table_info(tables.name, 'store') WHERE pk > 0)
    || coalesce((SELECT group_concat(parent, '') FROM (
            SELECT format(', FOREIGN KEY (%s) REFERENCES "%w" (%s) ON DELETE %s',
                group_concat(format('"%w"', "from"), ', ' ORDER BY seq), "table",
                group_concat(format('"%w"', "to"), ', ' ORDER BY seq), on_delete) AS parent
            FROM pragma_foreign_key_list(tables.name, 'store') GROUP BY id)), '')
    || ')' || iif(wr, ' WITHOUT ROWID', '')
FROM tables
UNION ALL SELECT format('INSERT INTO main."%w" SELECT * FROM store."%w"', name, name) FROM tables
"#;

/// The statements that make its unique indexes.
const INDEXES: &str = r#"
SELECT "index".sql FROM store.sqlite_schema AS "index", pragma_index_list("index".tbl_name, 'store') AS list
WHERE list.name = "index".name AND list."unique" AND "index".sql IS NOT NULL
"#;

/// The number of columns of the store that the copy lacks, and of constraints that it has.
const DIFFERENCE: &str = r#"
SELECT (SELECT count(*) FROM (
        SELECT tables.name, columns.* FROM store.sqlite_schema AS tables, pragma_table_info(tables.name, 'store') AS columns
        WHERE tables.type = 'table'
        EXCEPT
        SELECT tables.name, columns.* FROM main.sqlite_schema AS tables, pragma_table_info(tables.name, 'main') AS columns
        WHERE tables.type = 'table'))
    + (SELECT count(*) FROM main.sqlite_schema WHERE type = 'trigger' OR sql GLOB '*CHECK*')
"#;

/// Makes a database with that schema and the rows of a store.
pub(crate) fn copy(file: &Path, store: &Path) -> Result<()> {
    File::create_new(file)?;
    let db = Db::open(file)?;
    db.execute("PRAGMA foreign_keys = OFF")?;
    db.execute(&format!("ATTACH '{}' AS store", store.display()))?;
    for statements in [TABLES, INDEXES] {
        for statement in db.query_texts(statements)? {
            db.execute(&statement)?;
        }
    }
    ensure!(
        db.query_integer(DIFFERENCE)? == 0,
        "the lean schema is not the store's without constraints"
    );
    Ok(())
}
