//! The findings of `check` that only a server can have.

use diesel::PgConnection;
use diesel::result::Error as DieselError;

use super::ops;
use super::schema::owners;
use super::schema_state::read_schema_state;
use crate::base::finding::Check;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::schema_state::SchemaVersion;

/// Whether an error is about the data. After any other error the transaction can't go on.
fn is_about_data(error: &DieselError) -> bool {
    matches!(error, DieselError::DeserializationError(_))
}

/// Checks the owners of the schema and of the store's objects in it. `owner` is trusted in addition to the
/// roles that always are.
fn owner(conn: &mut PgConnection, owner: Option<&str>) -> Result<Check, QueryError> {
    let owners = owners(conn, owner)?;
    let schema = owners
        .first()
        .map(|it| format!("{}, owned by {}", it.object, it.owner));
    let mut check = Check::new("owner", schema.unwrap_or_else(|| "none".into()));
    for owned in owners.iter().filter(|owned| !owned.is_trusted) {
        check.find(
            format!("{} is owned by the role `{}`", owned.object, owned.owner),
            "name the role if it administers the store (`--owner`), or give it back \
             (ALTER … OWNER TO)",
        );
    }
    Ok(check)
}

/// Checks the owners, the schema and all rows, in a transaction that sees one state of them.
pub(super) fn checks(
    conn: &mut PgConnection,
    call: Operation<'_>,
    trusted_owner: Option<&str>,
) -> Result<Vec<Check>, QueryError> {
    let state = read_schema_state(conn)?;
    let mut checks = vec![
        owner(conn, trusted_owner)?,
        ops::check::schema(conn, &state)?,
    ];
    // Another schema may have other tables.
    if state.version == SchemaVersion::Current && state.is_readable() {
        checks.extend(ops::check::data(conn, call, is_about_data)?);
    }
    Ok(checks)
}
