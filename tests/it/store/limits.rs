//! Locks, limits and errors: which error a call gets if the database cannot execute it now, and that nothing
//! is left behind.

use std::time::Duration;

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _, sql_types,
};

use super::*;
use crate::support::{pgbouncer::PgBouncer, postgres};

/// Longer than anything here may wait: an endless wait fails with it.
pub(super) const FOREVER: Duration = Duration::from_secs(60);

async fn database() -> postgres::Database {
    tokio::task::spawn_blocking(postgres::database).await.unwrap()
}

/// Limits that a test can wait for.
fn short(url: &str) -> Options {
    Options {
        connections: 2,
        lock_timeout: Duration::from_millis(300),
        ..Options::new(url)
    }
}

fn lock_row(conn: &mut PgConnection, of: &Integration) {
    conn.batch_execute(&format!(
        "BEGIN; SELECT 1 FROM integration WHERE id = '{}' FOR UPDATE",
        of.id
    ))
    .unwrap();
}

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = sql_types::Integer)]
    pid: i32,
}

/// The id of the server process that waits for a lock in this database; waits until there is one.
pub(super) async fn waiting(conn: &mut PgConnection) -> i32 {
    loop {
        let found: Vec<Waiting> = diesel::sql_query(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .load(conn)
        .unwrap();
        if let Some(found) = found.first() {
            return found.pid;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two groups, an integration, and stores of a role whose server answers in German.
struct German {
    admin: PgConnection,
    watcher: PgConnection,
    role: String,
    store: Store,
    /// Waits for locks.
    patient: Store,
    group: GroupId,
    one: Integration,
}

impl German {
    async fn of(database: &postgres::Database) -> Self {
        let role = format!("r_{}", database.name());
        let mut admin = PgConnection::establish(&database.url).unwrap();
        admin
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
            ))
            .unwrap();
        let url = database.url_for(&role);
        let store = Store::open(&short(&url)).unwrap();
        let g = group(&store, "g").await;
        let one = active(&store, &g, "One").await;
        let patient = Store::open(&Options {
            lock_timeout: FOREVER,
            ..short(&url)
        })
        .unwrap();
        let watcher = PgConnection::establish(&database.url).unwrap();
        Self {
            admin,
            watcher,
            role,
            store,
            patient,
            group: g,
            one,
        }
    }

    async fn update(&self) -> Result<(), Error> {
        self.store
            .integration_update(no_edit(self.one.id))
            .await
            .map(drop)
    }

    async fn conflicts_are_told(&self) {
        let (store, g) = (&self.store, &self.group);
        let taken = store
            .integration_create(new_integration(g, "One"))
            .await
            .unwrap_err();
        assert!(taken.is_conflict(Conflict::Name), "{taken:?}");
        let label = NewIntegration {
            label: Some("one".to_owned()),
            ..new_integration(g, "Other")
        };
        let taken = store.integration_create(label).await.unwrap_err();
        assert!(taken.is_conflict(Conflict::Label), "{taken:?}");
        let unknown = store
            .enablement_set(enablement(&group_id("nobody"), true))
            .await
            .unwrap_err();
        assert!(unknown.is_not_found(), "{unknown:?}");
    }

    /// A lock that is not acquired in time.
    async fn a_lock_is_waited_for(&mut self) {
        lock_row(&mut self.admin, &self.one);
        let late = self.update().await.unwrap_err();
        assert!(
            matches!(late, Error::Failed(_)) && late.is_retryable(),
            "{late:?}"
        );
        self.admin.batch_execute("ROLLBACK").unwrap();
        self.update().await.unwrap();
    }

    /// An administrator cancels a statement, and terminates a connection.
    async fn an_administrator_interrupts(&mut self) {
        let (admin, watcher, one) = (&mut self.admin, &mut self.watcher, &self.one);
        for (end, expected) in [
            ("pg_cancel_backend", "Failed"),
            ("pg_terminate_backend", "Unavailable"),
        ] {
            lock_row(admin, one);
            let (store, id) = (self.patient.clone(), one.id);
            let call = tokio::spawn(async move { store.integration_update(no_edit(id)).await });
            let pid = waiting(watcher).await;
            watcher.batch_execute(&format!("SELECT {end}({pid})")).unwrap();
            let ended = call.await.unwrap().unwrap_err();
            assert!(
                ended.is_retryable() && format!("{ended:?}").starts_with(expected),
                "{end}: {ended:?}"
            );
            admin.batch_execute("ROLLBACK").unwrap();
            self.patient.integration_update(no_edit(one.id)).await.unwrap();
        }
    }

    /// A deadlock; the server ends one of the transactions.
    async fn a_deadlock_is_ended(&mut self, database: &postgres::Database) {
        let h = group(&self.store, "h").await;
        self.store.group_connect(&self.group, &h, NOW).await.unwrap();
        let mut admin = PgConnection::establish(&database.url).unwrap();
        admin
            .batch_execute("BEGIN; SELECT 1 FROM groups WHERE id = 'h' FOR UPDATE")
            .unwrap();
        let (ring, id) = (self.patient.clone(), self.one.id);
        let share = NewShare {
            group_id: h,
            fields: None,
        };
        let call = tokio::spawn(async move { ring.share_set(id, share, "ada", NOW).await });
        waiting(&mut self.watcher).await;
        let close = format!(
            "SET LOCAL deadlock_timeout = '60s'; SELECT 1 FROM integration WHERE id = '{id}' FOR UPDATE"
        );
        let closed = tokio::task::spawn_blocking(move || {
            admin.batch_execute(&close).unwrap();
            admin
        });
        let ended = call.await.unwrap().unwrap_err();
        assert!(matches!(ended, Error::Failed(_)), "{ended:?}");
        let mut admin = closed.await.unwrap();
        admin.batch_execute("ROLLBACK").unwrap();
    }

    /// It can be granted again: the error is retryable, and not a defect of the statement.
    async fn a_permission_is_revoked(&mut self) {
        let role = &self.role;
        self.admin
            .batch_execute(&format!("REVOKE UPDATE ON integration FROM {role}"))
            .unwrap();
        let denied = self.update().await.unwrap_err();
        assert!(matches!(denied, Error::Failed(_)), "{denied:?}");
        self.admin
            .batch_execute(&format!("GRANT UPDATE ON integration TO {role}"))
            .unwrap();
        self.update().await.unwrap();
    }

    /// It remains a defect.
    async fn a_statement_is_wrong(&mut self) {
        self.admin
            .batch_execute("ALTER TABLE integration RENAME COLUMN company_records TO other")
            .unwrap();
        let wrong = self.update().await.unwrap_err();
        assert!(
            matches!(wrong, Error::Query(_)) && !wrong.is_retryable(),
            "{wrong:?}"
        );
    }
}

/// The server's error messages are in German, and the role may not change this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_mean_the_same_in_every_language() {
    let database = database().await;
    let mut german = German::of(&database).await;
    german.conflicts_are_told().await;
    german.a_lock_is_waited_for().await;
    german.an_administrator_interrupts().await;
    german.a_deadlock_is_ended(&database).await;
    german.a_permission_is_revoked().await;
    german.a_statement_is_wrong().await;
    let German { mut admin, role, .. } = german;
    admin
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .unwrap();
}

/// The only connection had its limits removed for the migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_again_after_migrations() {
    let database = database().await;
    let store = Store::open(&Options {
        connections: 1,
        ..short(&database.url)
    })
    .unwrap();
    let one = active(&store, &group(&store, "g").await, "One").await;
    store.migrate().await.unwrap();
    let mut admin = PgConnection::establish(&database.url).unwrap();
    lock_row(&mut admin, &one);
    let late = tokio::time::timeout(FOREVER, store.integration_update(no_edit(one.id))).await;
    assert!(
        late.expect("it does not wait for ever")
            .unwrap_err()
            .is_retryable()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let database = database().await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("{}_{}", database.name(), encoding.to_lowercase());
        database.admin(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ));
        let url = database
            .url
            .replace(&format!("/{}?", database.name()), &format!("/{name}?"));
        let refused = Store::open(&Options::new(url)).map(|_| ()).unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, Error::Config(_)), "{said}");
        assert!(
            said.contains(encoding) && said.contains("ENCODING 'UTF8'"),
            "{said}"
        );
        database.admin(&format!("DROP DATABASE {name}"));
    }
}

/// Migrations, limits and concurrent calls, with another connection for each transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_may_stand_in_between() {
    let database = database().await;
    let empty = format!("{}_empty", database.name());
    database.admin(&format!("CREATE DATABASE {empty}"));
    let pooler = PgBouncer::start(&database);
    {
        // From an empty database, by two concurrent migrations.
        let stores = [0, 1].map(|_| Store::open(&short(&pooler.url(&empty))).unwrap());
        let done = tokio::join!(stores[0].migrate(), stores[1].migrate());
        let counts = [done.0.unwrap().0.len(), done.1.unwrap().0.len()];
        assert!(
            counts.contains(&0) && counts.iter().sum::<usize>() >= 4,
            "{counts:?}"
        );
        assert_eq!(stores[0].migrate().await.unwrap().0, Vec::<String>::new());
    }
    let options = Options {
        connections: 8,
        connection_timeout: FOREVER,
        ..short(&pooler.url(database.name()))
    };
    let store = Store::open(&options).unwrap();
    let g = group(&store, "g").await;
    let one = active(&store, &g, "One").await;
    // The same statements repeatedly, on more connections than the server has.
    let done = futures(64, |i| {
        let (store, one, g) = (store.clone(), one.clone(), g.clone());
        async move {
            let rows = (0..20).map(|n| row(&format!("{i:02}-{n:02}"), 1, 10)).collect();
            store
                .record_refresh(refresh(&one, 100, vec![batch("Account", 100, rows)]))
                .await
                .unwrap();
            store.source_list(&g).await.unwrap();
            let ids = vec![format!("{i:02}-07")];
            store
                .record_each(one.id, "Account", ids, 0, |seen, _| {
                    *seen += 1;
                    true
                })
                .await
                .unwrap()
        }
    })
    .await;
    assert_eq!(done, [1; 64]);
    assert_eq!(counts(&store, one.id).await, [("Account".to_owned(), 64 * 20)]);

    let mut admin = PgConnection::establish(&database.url).unwrap();
    lock_row(&mut admin, &one);
    let late = tokio::time::timeout(FOREVER, store.integration_update(no_edit(one.id))).await;
    let late = late.expect("its limits hold behind the pooler, too").unwrap_err();
    assert!(late.is_retryable(), "{late:?}");
    admin.batch_execute("ROLLBACK").unwrap();
    // No setting of one transaction is left for others.
    let mut plain = PgConnection::establish(&pooler.url(database.name())).unwrap();
    for _ in 0..10 {
        #[derive(QueryableByName)]
        struct Setting {
            #[diesel(sql_type = sql_types::Text)]
            text: String,
        }
        let found: Setting = diesel::sql_query("SELECT current_setting('lock_timeout') AS text")
            .get_result(&mut plain)
            .unwrap();
        assert_eq!(found.text, "0");
    }
    drop((store, plain, admin, pooler));
    database.admin(&format!("DROP DATABASE {empty} WITH (FORCE)"));
}

/// Each of four writes waits up to the limit, without adding the waits of those before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_do_not_wait_one_after_the_other_for_a_locked_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tether.db");
    const TIMEOUT: Duration = Duration::from_secs(2);
    let options = Options {
        lock_timeout: TIMEOUT,
        ..Options::new(format!("sqlite:{}", file.display()))
    };
    let store = Store::open(&options).unwrap();
    store.migrate().await.unwrap();
    let g = group(&store, "g").await;
    let mut other = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let four = futures(4, |i| {
        let (store, g) = (store.clone(), g.clone());
        async move { store.group_upsert(&g, &format!("Name {i}"), NOW).await }
    });
    let four = tokio::time::timeout(TIMEOUT * 3, four)
        .await
        .expect("none waits for another");
    for refused in four {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Busy(_)), "{refused:?}");
    }
    // A write that returned this error is not made later, and the next write succeeds.
    other.batch_execute("ROLLBACK").unwrap();
    let other_group = group_id("other");
    store.group_upsert(&other_group, "Other", NOW).await.unwrap();
    assert_eq!(store.group_get(&g).await.unwrap().display_name, "g");
}
