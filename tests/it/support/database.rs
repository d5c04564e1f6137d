//! The databases that a story runs on.

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, SqliteConnection};

use super::server::World;

/// What the server keeps its state in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
    /// Control in one database, the records of integrations in two others.
    Split,
}

/// One test for each database.
macro_rules! on_both_databases {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn on_sqlite() {
                super::$story($crate::support::database::Database::Sqlite).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                super::$story($crate::support::database::Database::Postgres).await;
            }
        }
    )+};
}
pub(crate) use on_both_databases;

/// [`on_both_databases`], and one with the records of integrations in databases of their own.
macro_rules! on_all_databases {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn on_sqlite() {
                super::$story($crate::support::database::Database::Sqlite).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                super::$story($crate::support::database::Database::Postgres).await;
            }

            #[tokio::test]
            async fn on_control_and_data() {
                super::$story($crate::support::database::Database::Split).await;
            }
        }
    )+};
}
pub(crate) use on_all_databases;

impl World {
    /// Changes the database directly.
    pub(crate) fn sql(&self, sql: &str) {
        let done = match self.postgres_url() {
            Some(url) => PgConnection::establish(url).unwrap().batch_execute(sql),
            None => {
                let path = self.data().join("tether.db");
                let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
                conn.batch_execute(sql)
            }
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
