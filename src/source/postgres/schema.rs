//! The schema `portcullis` of a database, for those who have none of their own: what makes it, and what reads it.
//!
//! A role is handed over as the rights that it has; one that the grants document declares by its name.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::{Address, Fault, Queries, connect};

/// The commands that make it. They may be given again.
pub const SQL: &str = include_str!("schema.sql");

/// The channel on which its triggers tell of changes.
pub const CHANNEL: &str = "portcullis";

/// The position in databases of any schema: which transactions can be seen.
pub const POSITION: &str = "SELECT pg_current_snapshot()";

const PRINCIPALS: &str = "
SELECT p.id, p.tenant, p.oid, p.subject, p.status, p.flags, m.groups, p.boundary, g.grants
FROM portcullis.principals p
LEFT JOIN (
    SELECT principal, array_agg(\"group\" ORDER BY \"group\") AS groups FROM portcullis.memberships GROUP BY principal
) m ON m.principal = p.id
LEFT JOIN (
    SELECT g.principal, jsonb_agg(ENTRY ORDER BY g.id) AS grants
    FROM portcullis.grants g ROLES WHERE TELLS GROUP BY g.principal
) g ON g.principal = p.id";

const BY_ID: &str = "
SELECT p.id, p.tenant, p.oid, p.subject, p.status, p.flags,
    (SELECT array_agg(m.\"group\" ORDER BY m.\"group\") FROM portcullis.memberships m WHERE m.principal = p.id) AS groups,
    p.boundary,
    (SELECT jsonb_agg(ENTRY ORDER BY g.id)
     FROM portcullis.grants g ROLE_OF WHERE g.principal = p.id AND TELLS) AS grants
FROM portcullis.principals p WHERE p.id = ANY($1)";

const ROLES: &str = "LEFT JOIN (
    SELECT roles.name, roles.in_document, rights.given
    FROM portcullis.roles LEFT JOIN (
        SELECT role, jsonb_agg(\"right\" || coalesce(':' || level, '') ORDER BY \"right\") AS given
        FROM portcullis.role_rights GROUP BY role
    ) rights ON rights.role = roles.name
) r ON r.name = g.role";

/// The same for few grants: the rights of one role at a time, where all roles would be gathered for each principal.
const ROLE_OF: &str = "LEFT JOIN LATERAL (
    SELECT roles.name, roles.in_document, (
        SELECT jsonb_agg(\"right\" || coalesce(':' || level, '') ORDER BY \"right\")
        FROM portcullis.role_rights WHERE role = roles.name
    ) AS given
    FROM portcullis.roles WHERE roles.name = g.role
) r ON true";

/// What is left out: a role without rights.
const TELLS: &str = "(g.role IS NULL OR r.in_document OR r.given IS NOT NULL)";

const ENTRY: &str = "CASE
    WHEN g.\"right\" IS NOT NULL
        THEN jsonb_build_object('rights', jsonb_build_array(g.\"right\" || coalesce(':' || g.level, '')))
    WHEN r.in_document THEN jsonb_build_object('role', g.role)
    ELSE jsonb_build_object('rights', r.given)
END || CASE WHEN g.node IS NULL THEN '{}' ELSE jsonb_build_object('at', g.node) END";

/// What was pruned is not told of any more: who may not have seen all of it, as it was not there yet or still running at
/// the position, is told of everybody. A transaction that still runs cannot have been pruned.
const CHANGES: &str = "
WITH new AS (
    SELECT principal, role FROM portcullis.changes
    WHERE transaction >= pg_snapshot_xmin($1::pg_snapshot) AND NOT pg_visible_in_snapshot(transaction, $1::pg_snapshot)
)
SELECT principal FROM new WHERE role IS NULL
UNION ALL SELECT g.principal FROM portcullis.grants g WHERE g.role IN (SELECT role FROM new)
UNION ALL SELECT NULL FROM portcullis.pruned p
WHERE p.transaction >= pg_snapshot_xmax($1::pg_snapshot) OR EXISTS (
    SELECT FROM pg_snapshot_xip($1::pg_snapshot) AS running(transaction)
    WHERE running.transaction <= p.transaction AND pg_xact_status(running.transaction) IS DISTINCT FROM 'in progress'
)";

/// What reads it.
pub fn queries() -> Queries {
    let whole = |query: &str| {
        let roles = query.replace("ROLE_OF", ROLE_OF).replace("ROLES", ROLES);
        roles.replace("ENTRY", ENTRY).replace("TELLS", TELLS)
    };
    Queries {
        principals: whole(PRINCIPALS),
        principals_by_id: Some(whole(BY_ID)),
        changes: Some(CHANGES.to_owned()),
        position: POSITION.to_owned(),
    }
}

/// The row of an object of this kind, with these attributes.
pub fn object<'a>(kind: &str, attributes: impl Iterator<Item = &'a str>) -> String {
    let quoted = |text: &str, mark: &str| format!("{mark}{}{mark}", text.replace(mark, &mark.repeat(2)));
    let column = |name: &str| format!(", attributes->{} AS {}", quoted(name, "'"), quoted(name, "\""));
    let columns: String = attributes.map(column).collect();
    format!("SELECT key AS id{columns} FROM portcullis.objects WHERE kind = {} AND key = $1", quoted(kind, "'"))
}

/// Makes the schema, on this thread.
///
/// # Errors
/// What was refused, or took too long; then nothing has changed.
pub fn apply(address: &Address, within: Duration) -> Result<(), Fault> {
    ask(address, within, "the schema", async |client| client.batch_execute(SQL).await)
}

/// Takes changes out of the log that are older than `keep`, on this thread. Returns how many.
///
/// # Errors
/// What was refused, or took too long; then nothing has changed.
pub fn prune(address: &Address, keep: Duration, within: Duration) -> Result<i64, Fault> {
    let keep = keep.as_secs_f64();
    ask(address, within, "pruning", async |client| {
        let pruned = client.query_one("SELECT portcullis.prune(make_interval(secs => $1))", &[&keep]).await?;
        pruned.try_get(0)
    })
}

/// One question over a connection of its own.
fn ask<T>(
    address: &Address,
    within: Duration,
    what: &str,
    question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Fault> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fault::new(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let (client, connection) = connect::connect(address, within).await?;
        // Ends with the client.
        let _driver = tokio::spawn(connection);
        match timeout(within, question(&client)).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(Fault::late(what, within)),
        }
    })
}
