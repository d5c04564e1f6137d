//! Migrations: embedded, one folder a database, the same versions in both; and one for further databases of data sets.

use diesel::{PgConnection, connection::SimpleConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Error, conn::Conn};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const DATA: EmbeddedMigrations = embed_migrations!("migrations/postgres-data");

/// The advisory lock under which one replica migrates: "tether" in ASCII.
const LOCK: i64 = 0x7465_7468_6572;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Migration(error.to_string())
}

/// Applies what is missing, within a transaction; returns the versions.
pub(super) fn run(conn: &mut Conn) -> Result<Vec<String>, Error> {
    match conn {
        Conn::Sqlite(c) => {
            let done = c.run_pending_migrations(SQLITE).map_err(failed)?;
            Ok(done.iter().map(ToString::to_string).collect())
        }
        Conn::Postgres(c) => run_postgres(c, POSTGRES),
    }
}

/// [`run`] for a database of data sets alone.
pub(super) fn run_data(conn: &mut Conn) -> Result<Vec<String>, Error> {
    match conn {
        Conn::Sqlite(_) => Ok(Vec::new()),
        Conn::Postgres(c) => run_postgres(c, DATA),
    }
}

fn run_postgres(c: &mut PgConnection, migrations: EmbeddedMigrations) -> Result<Vec<String>, Error> {
    // Other replicas wait here until the first one is done. The lock and the lifted limits end with the transaction, so
    // that the connection returns to the pool, or to a pooler, unchanged.
    c.batch_execute(&format!(
        "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
         SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})"
    ))?;
    c.run_pending_migrations(migrations)
        .map(|done| done.iter().map(ToString::to_string).collect())
        .map_err(failed)
}
