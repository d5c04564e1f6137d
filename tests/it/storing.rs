//! A commit that ends while the rows after it were received already: the server receives the next rows while it stores.
//!
//! The connector sends ten rows and a checkpoint in turn, and four events of it wait to be pulled. So its 41st row shows that the
//! server received ten rows more than those that it is storing, and its 51st row that it received more than that.

use diesel::connection::SimpleConnection;
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection};
use serde_json::json;
use tether::proto::v1::sync::{Mode, State};

use crate::changes::{counts, ends, is_exact};
use crate::support::server::{Database, Person, World, on_both_databases, until};

on_both_databases!(
    nothing_is_stored_after_a_commit_that_failed,
    what_came_before_an_error_is_stored,
);

/// The companies of the dummy.
const ALL: i64 = 100;

/// The data sets of a world, locked: nothing is stored meanwhile.
struct Locked(Box<dyn SimpleConnection>);

impl Locked {
    fn new(world: &World) -> Self {
        let mut conn: Box<dyn SimpleConnection> = match world.postgres_url() {
            Some(url) => Box::new(PgConnection::establish(url).unwrap()),
            None => Box::new(SqliteConnection::establish(&sqlite(world)).unwrap()),
        };
        let begin = match world.postgres_url() {
            Some(_) => "BEGIN; SELECT * FROM data_set FOR UPDATE",
            None => "PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE",
        };
        conn.batch_execute(begin).unwrap();
        Self(conn)
    }

    /// Changes something and unlocks.
    fn end(mut self, change: &str) {
        self.0.batch_execute(&format!("{change}; COMMIT")).unwrap();
    }
}

fn sqlite(world: &World) -> String {
    world.data().join("tether.db").display().to_string()
}

/// How many records are stored.
fn stored(world: &World) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let count = diesel::sql_query("SELECT count(*) AS n FROM record");
    let found: Count = match world.postgres_url() {
        Some(url) => count.get_result(&mut PgConnection::establish(url).unwrap()),
        None => count.get_result(&mut SqliteConnection::establish(&sqlite(world)).unwrap()),
    }
    .unwrap();
    found.n
}

async fn logs(world: &World, text: &str) {
    until(text, || async { world.log().contains(text) }).await;
}

/// A first sync whose first rows are being stored, while the next ones were received: (integration, sync, lock).
async fn begun(world: &World, ann: &mut Person, script: &str) -> (String, String, Locked) {
    let go = world.data().join("go");
    let wait = format!("log:before the first row@1,wait:{}@1", go.display());
    world.script(&json!({
        "changes": "on", "batch": "10", "checkpoint_every": "10", "script.read": format!("{wait},{script}")
    }));
    ann.enable("dummy").await;
    let name = ann.create("dummy", "Ours").await;
    ann.log_in_with_key(&name, "ann").await;
    ann.select(&name, &["Company.Industry"]).await;
    let sync = ann.activate(&name).await;
    logs(world, "before the first row").await;
    let locked = Locked::new(world);
    std::fs::write(&go, "").unwrap();
    (name, sync, locked)
}

/// Why a commit fails, and how the sync ends.
#[derive(Clone, Copy, Debug)]
enum Cause {
    TakenOver,
    Cancelled,
    DiskFull,
}

impl Cause {
    fn change(self, world: &World) -> &'static str {
        match self {
            Self::TakenOver => "UPDATE data_set SET fence = fence + 1",
            Self::Cancelled => "UPDATE data_set SET stop_fence = fence",
            Self::DiskFull if world.postgres_url().is_some() => {
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE 'No space left on device'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON record FOR EACH ROW EXECUTE FUNCTION refuse()"
            }
            Self::DiskFull => {
                "CREATE TRIGGER refuse BEFORE INSERT ON record \
                 BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            }
        }
    }
}

async fn nothing_is_stored_after_a_commit_that_failed(database: Database) {
    for cause in [Cause::TakenOver, Cause::Cancelled, Cause::DiskFull] {
        // Only a sync that is taken over waits for the end of its lease.
        let seconds = if matches!(cause, Cause::TakenOver) { 2 } else { 30 };
        let world = World::start_with(database, 1, &[&format!("sync.lease_seconds={seconds}")]).await;
        let mut ann = world.ann().await;
        let script = "log:the next rows are received@41,log:too many rows are received@51";
        let (name, sync, locked) = begun(&world, &mut ann, script).await;
        logs(&world, "the next rows are received").await;
        // A later attempt waits before its first row.
        std::fs::remove_file(world.data().join("go")).unwrap();
        locked.end(cause.change(&world));
        match cause {
            Cause::TakenOver => logs(&world, "continues in another process").await,
            Cause::Cancelled => {
                assert_eq!(ann.watch(&sync).await.pop().unwrap().state(), State::Cancelled);
            }
            Cause::DiskFull => {
                logs(&world, "waits: STORAGE_UNAVAILABLE").await;
                let on = if database == Database::Postgres {
                    " ON record"
                } else {
                    ""
                };
                world.sql(&format!("DROP TRIGGER refuse{on}"));
            }
        }
        assert_eq!(stored(&world), 0, "{cause:?}");
        assert!(!world.log().contains("too many rows are received"), "{cause:?}");
        std::fs::write(world.data().join("go"), "").unwrap();
        let done = match cause {
            Cause::TakenOver | Cause::DiskFull => ann.succeeds(&sync).await,
            Cause::Cancelled => ends(&mut ann, &name, Mode::Unspecified).await,
        };
        assert_eq!(counts(&done), (ALL, ALL, 0), "{cause:?}");
        is_exact(&mut ann, &name).await;
    }
}

async fn what_came_before_an_error_is_stored(database: Database) {
    let world = World::start_with(database, 1, &["sync.lease_seconds=30"]).await;
    let mut ann = world.ann().await;
    // The error is received while the rows before it are being stored.
    let script = "log:the error follows@11,error:transient@11";
    let (name, sync, locked) = begun(&world, &mut ann, script).await;
    logs(&world, "the error follows").await;
    world.script(&json!({
        "changes": "on", "batch": "10", "checkpoint_every": "10", "script.read": "log:from the first row@1"
    }));
    assert_eq!(stored(&world), 0);
    locked.end("SELECT 1");
    let done = ann.succeeds(&sync).await;
    assert!(done.attempt > 1, "{done:?}");
    assert_eq!(counts(&done), (ALL, ALL, 0));
    assert!(
        !world.log().contains("from the first row"),
        "the first rows were not stored"
    );
    world.script(&json!({"changes": "on"}));
    is_exact(&mut ann, &name).await;
}
