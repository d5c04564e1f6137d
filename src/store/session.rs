//! How connections are made and configured, and detection of poolers between tether and PostgreSQL.
//!
//! - A database with another encoding than UTF-8 is refused at start. Otherwise some text of a CRM would fail
//!   a sync months later.
//! - A process that stops in the middle of a transaction keeps its row locks until PostgreSQL ends its
//!   session. The timeout of idle transactions is a third of the lease of a sync, so that the locks are free
//!   when another process takes over.
//! - A pooler in transaction mode is detected at start: two connections of this process are then one
//!   connection of the server. In this case nothing is prepared, each transaction sets its own limits (`SET
//!   LOCAL`), and migrations use a lock of their transaction.

use std::time::Duration;

use diesel::{
    Connection, ConnectionError, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::{CacheSize, SimpleConnection},
    sql_query, sql_types,
};

use super::{Error, Options, conn::Conn};

/// Where the database is.
#[derive(Debug, Clone)]
pub(super) enum Address {
    Sqlite { path: String },
    Postgres { url: String },
}

/// How connections are made.
#[derive(Debug, Clone)]
pub(super) struct Session {
    address: Address,
    /// The statements that each connection runs first.
    setup: String,
    /// Behind a pooler each transaction may get another connection, so that settings hold for one transaction only. These
    /// statements begin each transaction then.
    local: Option<String>,
}

impl Session {
    /// Reads the address.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        if let Some(path) = options.url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(":memory:") || path.contains("mode=memory") {
                return Err(Error::Config(
                    "sqlite: needs the path of a file, as in \"sqlite:tether.db\"".to_owned(),
                ));
            }
            return Ok(Self {
                address: Address::Sqlite {
                    path: path.to_owned(),
                },
                setup: sqlite_setup(options),
                local: None,
            });
        }
        if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
            return Ok(Self {
                address: Address::Postgres {
                    url: postgres_url(options)?,
                },
                setup: postgres_setup(options),
                local: None,
            });
        }
        Err(Error::Config(
            "the address has to begin with \"sqlite:\" or \"postgres://\"".to_owned(),
        ))
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.address, Address::Sqlite { .. })
    }

    /// The same for connections that only read.
    pub(super) fn of_readers(mut self) -> Self {
        if self.is_sqlite() {
            // The writer's big cache would be had once a reader: a quarter of a gigabyte for eight.
            self.setup
                .push_str("PRAGMA cache_size = -8192; PRAGMA query_only = ON;");
        }
        self
    }

    /// How a transaction begins here, where it begins like this: `BEGIN`, `BEGIN READ ONLY`.
    pub(super) fn begin(&self, like: &str) -> String {
        match &self.local {
            Some(local) => format!("{like}; {local}"),
            None => like.to_owned(),
        }
    }

    /// Whether settings hold for one transaction only.
    pub(super) fn is_pooled(&self) -> bool {
        self.local.is_some()
    }

    /// A connection without settings.
    fn connect(&self) -> Result<Conn, ConnectionError> {
        Ok(match &self.address {
            Address::Sqlite { path } => Conn::Sqlite(SqliteConnection::establish(path)?),
            Address::Postgres { url } => Conn::Postgres(PgConnection::establish(url)?),
        })
    }

    pub(super) fn establish(&self) -> Result<Conn, ConnectionError> {
        let mut conn = self.connect()?;
        if self.is_pooled() {
            // A prepared statement stays with a connection that the next transaction may not get.
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        } else {
            conn.batch_execute(&self.setup)
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
        }
        Ok(conn)
    }

    /// Looks at the server: whether it can hold every text, and whether connections are what they seem.
    pub(super) fn examine(&mut self, options: &Options) -> Result<(), Error> {
        if self.is_sqlite() {
            return self.establish().map(drop).map_err(|e| self.cannot_open(&e));
        }
        // Settings would stay with a pooler's connections, for other clients.
        let open = |session: &Self| {
            let mut conn = session.connect().map_err(|e| session.cannot_open(&e))?;
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
            Ok::<_, Error>(conn)
        };
        let mut first = open(self)?;
        let encoding = text(&mut first, "SELECT current_setting('server_encoding') AS text")?;
        if encoding != "UTF8" {
            return Err(Error::Config(format!(
                "the PostgreSQL database has the encoding {encoding}, which cannot hold every text of a CRM: make one with \
                 CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'"
            )));
        }
        let mut second = open(self)?;
        if shares_server_connections(&mut first, &mut second)? {
            tracing::info!(
                "a pooler gives each transaction another connection to PostgreSQL: statements are not prepared, and every \
                 transaction sets its limits"
            );
            self.local = Some(postgres_local(options));
        }
        Ok(())
    }

    pub(super) fn cannot_open(&self, error: &ConnectionError) -> Error {
        match &self.address {
            Address::Sqlite { path } => Error::Unavailable(format!("cannot open \"{path}\": {error}")),
            // The address may hold a password.
            Address::Postgres { .. } => Error::Unavailable(format!("cannot connect to PostgreSQL: {error}")),
        }
    }
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = sql_types::Text)]
    text: String,
}

fn text(conn: &mut Conn, sql: &'static str) -> Result<String, Error> {
    let found: Found = sql_query(sql).get_result(conn)?;
    Ok(found.text)
}

/// Whether two connections of ours are now and then one connection of the server's: a pooler in transaction or statement
/// mode. The second is asked within a transaction, so that the first, asked again, cannot get the same.
fn shares_server_connections(first: &mut Conn, second: &mut Conn) -> Result<bool, Error> {
    const PROCESS: &str = "SELECT pg_backend_pid()::text AS text";
    let one = text(first, PROCESS)?;
    let other = second.transaction(|conn| text(conn, PROCESS))?;
    Ok(one == other || text(first, PROCESS)? != one)
}

fn sqlite_setup(options: &Options) -> String {
    format!(
        "PRAGMA busy_timeout = {};\
         PRAGMA page_size = 16384;\
         PRAGMA journal_mode = WAL;\
         PRAGMA synchronous = FULL;\
         PRAGMA foreign_keys = ON;\
         PRAGMA cache_size = -32768;\
         PRAGMA temp_store = MEMORY;\
         PRAGMA wal_autocheckpoint = 16000;\
         PRAGMA journal_size_limit = 268435456;",
        options.lock_timeout.as_millis()
    )
}

/// The address with limits on how long a dead server is waited for, where it has none of its own.
fn postgres_url(options: &Options) -> Result<String, Error> {
    let parameters = |name: &str| {
        options
            .url
            .split(['?', '&'])
            .find_map(|p| p.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let mode = parameters("sslmode")
        .or_else(|| std::env::var("PGSSLMODE").ok())
        .unwrap_or_default();
    if mode == "require" || mode.starts_with("verify") {
        return Err(Error::Config(format!(
            "sslmode={mode} needs TLS, and the PostgreSQL client in this build has none: use a build with TLS, or \
             a local proxy or socket with sslmode=disable"
        )));
    }
    let mut url = options.url.clone();
    let seconds = |time: Duration| time.as_secs().max(2).to_string();
    for (name, value) in [
        ("connect_timeout", seconds(options.connection_timeout)),
        // What was sent and is not acknowledged, and silence: in both a machine or a net is gone.
        (
            "tcp_user_timeout",
            options.statement_timeout.as_millis().to_string(),
        ),
        ("keepalives_idle", seconds(options.statement_timeout / 3)),
        ("keepalives_interval", seconds(options.statement_timeout / 6)),
        ("keepalives_count", "3".to_owned()),
    ] {
        if parameters(name).is_none() {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={value}"));
        }
    }
    Ok(url)
}

/// Settings that hold for a transaction as well as for a session.
fn postgres_settings(options: &Options) -> Vec<(&'static str, String)> {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let on_off = |name| (name, "off".to_owned());
    vec![
        ("statement_timeout", milliseconds(options.statement_timeout)),
        ("lock_timeout", milliseconds(options.lock_timeout)),
        // A process that is stopped or cut off keeps its row locks no longer than this.
        (
            "idle_in_transaction_session_timeout",
            milliseconds(options.idle_timeout),
        ),
        ("timezone", "'UTC'".to_owned()),
        ("client_min_messages", "warning".to_owned()),
        on_off("jit"),
        // Every query and join of ours has an index to go by. Before a new table's first statistics the planner takes it
        // for tiny and would read all of it for every batch of a first sync.
        on_off("enable_seqscan"),
        on_off("enable_hashjoin"),
        on_off("enable_mergejoin"),
        // Nor is anything of ours to be sorted that an index has in order, nor collected from an index before the first row
        // of a page is answered: both look cheap for the one row that is expected of an integration without statistics.
        on_off("enable_sort"),
        on_off("enable_bitmapscan"),
    ]
}

fn postgres_setup(options: &Options) -> String {
    let mut setup = String::new();
    for (name, value) in postgres_settings(options) {
        setup.push_str(&format!("SET {name} = {value}; "));
    }
    // Errors are distinguished by their codes. For the log they are in English if the role may set the language.
    setup.push_str(&format!(
        "SET application_name = 'tether'; SET tcp_user_timeout = {}; \
         DO $$ BEGIN PERFORM set_config('lc_messages', 'C', false); EXCEPTION WHEN insufficient_privilege THEN NULL; END $$",
        options.idle_timeout.as_millis()
    ));
    setup
}

fn postgres_local(options: &Options) -> String {
    let settings: Vec<String> = postgres_settings(options)
        .into_iter()
        .map(|(name, value)| format!("SET LOCAL {name} = {value}"))
        .collect();
    settings.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_own_limits_stay() {
        let url = |url: &str| postgres_url(&Options::new(url)).unwrap();
        let own = url("postgres://h/d?connect_timeout=77&keepalives_idle=5");
        assert_eq!(own.matches("connect_timeout").count(), 1);
        assert!(own.contains("connect_timeout=77&keepalives_idle=5&tcp_user_timeout="));
        assert!(url("postgres://h/d").starts_with("postgres://h/d?connect_timeout=5&"));
    }

    #[test]
    fn tls_is_not_dropped_in_silence() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let options = Options::new(format!("postgres://h/d?user=a&sslmode={mode}"));
            assert!(matches!(Session::new(&options), Err(Error::Config(_))), "{mode}");
        }
    }

    #[test]
    fn a_process_that_hangs_loses_its_locks_within_its_lease() {
        for seconds in [10, 30, 300] {
            let lease = Duration::from_secs(seconds);
            let options = Options::new("postgres://h/d").within_lease(lease);
            assert!(
                options.statement_timeout + options.idle_timeout < lease,
                "{lease:?}"
            );
            let local = postgres_local(&options);
            assert!(local.contains(&format!(
                "SET LOCAL idle_in_transaction_session_timeout = {}",
                options.idle_timeout.as_millis()
            )));
        }
    }
}
