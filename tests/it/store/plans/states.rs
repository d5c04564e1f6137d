//! The states of the statistics: none, good ones, and those of another integration; SQLite has no statistics.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Arc, Mutex},
};

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::{InstrumentationEvent, SimpleConnection as _},
    sql_types,
};

use super::{
    Watch, World, all_were_made,
    reading::{LARGE, WHOLE, goes_through},
    statements::{Size, account_row, contact_row, round},
    *,
};
use crate::support::postgres;

/// Fills the tables, as after a long time of use.
fn fill(conn: &mut PgConnection, group_id: &GroupId, of: &Integration, size: Size) {
    let (n, id, few) = (size.accounts, of.id, size.accounts / 3);
    conn.batch_execute(&format!(
        "INSERT INTO record (integration_id, object, external_id, company_id, name, name_key, homepage, payload, hash, \
         modified_us, read_us, change_no) SELECT '{id}', 'Account', '001' || lpad(i::text, 15, '0'), \
         lpad(to_hex(i), 8, '0') || '-0000-5000-8000-' || lpad(to_hex(i), 12, '0'), 'Name', \
         'name 001' || lpad(i::text, 15, '0'), 'company.com', '{{}}', i, {NOW}, {NOW}, i + 1 \
         FROM generate_series(0, {n} - 1) i; \
         INSERT INTO record (integration_id, object, external_id, name, name_key, payload, hash, modified_us, read_us, \
         change_no) SELECT '{id}', 'Contact', '003' || lpad(i::text, 15, '0'), 'Name', '', '{{}}', i, {NOW}, {NOW}, \
         {n} + i + 1 FROM generate_series(0, {n} - 1) i; \
         INSERT INTO company_record (integration_id, company_id, object, external_id) \
         SELECT '{id}', lpad(to_hex(i), 8, '0') || '-0000-5000-8000-' || lpad(to_hex(i), 12, '0'), 'Account', \
         '001' || lpad(i::text, 15, '0') FROM generate_series(0, {n} - 1) i; \
         INSERT INTO company_name (integration_id, name_key, company_id, object, external_id) \
         SELECT '{id}', 'name 001' || lpad(i::text, 15, '0'), \
         lpad(to_hex(i), 8, '0') || '-0000-5000-8000-' || lpad(to_hex(i), 12, '0'), 'Account', \
         '001' || lpad(i::text, 15, '0') FROM generate_series(0, {n} - 1) i; \
         INSERT INTO record_link (integration_id, child_object, child_id, parent_object, parent_id) \
         SELECT '{id}', 'Contact', '003' || lpad(i::text, 15, '0'), 'Account', '001' || lpad(i::text, 15, '0') \
         FROM generate_series(0, {n} - 1) i; \
         INSERT INTO data_set (integration_id, generation, change_no, forgotten_no, fence, stop_fence, checkpoint_seq, bytes, \
         api_calls, missing, field_types, company_no) VALUES ('{id}', 1, {n} * 2, 0, 0, 0, 0, 0, 0, '[]', '[]', {n} * 2) \
         ON CONFLICT (integration_id) DO UPDATE SET change_no = excluded.change_no, company_no = excluded.company_no; \
         INSERT INTO sync (id, integration_id, generation, state, \"trigger\", create_us, create_by, end_us, due_us, fence, \
         attempt, checkpoint_seq, cancel_requested, bytes, api_calls, error_reason, error_message, note) \
         SELECT gen_random_uuid()::text, '{id}', 1, 'SUCCEEDED', 'SCHEDULE', {NOW} - i * 10, 'ada', {NOW} - i * 10, \
         {NOW} - i * 10, 1, 0, 0, false, 0, 0, '', '', '' FROM generate_series(1, {few}) i; \
         INSERT INTO group_event (group_id, event_no, kind, integration_id, subject, reason, create_us) \
         SELECT '{group_id}', i, 'SYNC_FINISHED', '{id}', '', '', {NOW} - 10000000 + i * 10 \
         FROM generate_series(1000000, 1000000 + {few}) i; \
         INSERT INTO audit_entry (id, group_id, create_us, actor, role, request_id, method, resource, detail) \
         SELECT gen_random_uuid()::text, '{group_id}', {NOW} - 10000000 + i * 10, 'ada', 'ADMIN', '1', 'Update', \
         'integrations/' || i % 100, '{{}}' FROM generate_series(1, {few}) i; \
         INSERT INTO request (group_id, method, request_id, fingerprint, result, create_us) \
         SELECT '{group_id}', 'Create', 'r' || i, '', '', {NOW} FROM generate_series(1, {few}) i; \
         INSERT INTO tracked_company (group_id, company_id, name, name_key, homepage, create_us, create_by) \
         SELECT '{group_id}', lpad(to_hex(i), 8, '0') || '-0000-5000-8000-' || lpad(to_hex(i), 12, '0'), 'Name', \
         'name 001' || lpad(i::text, 15, '0'), '', {NOW}, 'ada' FROM generate_series(0, {few}) i"
    ))
    .unwrap();
}

#[derive(QueryableByName)]
struct Text {
    #[diesel(sql_type = sql_types::Text)]
    text: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_whatever_its_statistics() {
    const SIZE: Size = Size {
        accounts: 60_000,
        batch: 1_000,
    };
    let database = tokio::task::spawn_blocking(postgres::database).await.unwrap();
    let mut conn = PgConnection::establish(&database.url).unwrap();
    let name = database.name().to_owned();
    conn.batch_execute(&format!(
        "ALTER DATABASE {name} SET session_preload_libraries = 'auto_explain'; \
         ALTER DATABASE {name} SET auto_explain.log_min_duration = 0; \
         ALTER DATABASE {name} SET auto_explain.log_analyze = on; \
         ALTER DATABASE {name} SET auto_explain.log_buffers = on; \
         ALTER DATABASE {name} SET auto_explain.log_timing = off; \
         ALTER DATABASE {name} SET auto_explain.log_format = json"
    ))
    .unwrap();
    let tables: Vec<Text> =
        diesel::sql_query("SELECT tablename::text AS text FROM pg_tables WHERE schemaname = 'public'")
            .load(&mut conn)
            .unwrap();
    for table in tables {
        conn.batch_execute(&format!(
            "ALTER TABLE \"{}\" SET (autovacuum_enabled = false)",
            table.text
        ))
        .unwrap();
    }
    let options = Options {
        connections: 2,
        ..Options::new(&database.url)
    };
    let store = Store::open(&options).unwrap();
    let (one, two) = (group(&store, "one").await, group(&store, "two").await);
    let (first, second) = (
        active(&store, &one, "First").await,
        active(&store, &two, "Second").await,
    );
    drop(store);

    let mut faults = Vec::new();
    let mut rounds = 0;
    for (state, of, group_id) in [
        ("no statistics", &first, &one),
        ("good statistics", &first, &one),
        ("the statistics of another integration", &second, &two),
    ] {
        match state {
            "good statistics" => conn.batch_execute("ANALYZE").unwrap(),
            _ => fill(&mut conn, group_id, of, SIZE),
        }
        for mode in ["force_custom_plan", "force_generic_plan"] {
            conn.batch_execute(&format!("ALTER DATABASE {name} SET plan_cache_mode = {mode}"))
                .unwrap();
            let log = database.log();
            let mut world = World {
                store: Store::open(&options).unwrap(),
                watch: Watch::Postgres {
                    read: fs::metadata(&log).unwrap().len(),
                    log,
                    name: name.clone(),
                },
                called: BTreeSet::new(),
                faults: Vec::new(),
                state: format!("{state}, {mode}"),
            };
            round(&mut world, group_id, of, SIZE, rounds).await;
            all_were_made(&world.called);
            faults.append(&mut world.faults);
            rounds += 1;
        }
    }
    assert!(
        faults.is_empty(),
        "{} statements go through too much:\n\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// The tables of data sets, but for their heads.
const OF_DATA_SETS: &[&str] = &[
    "record",
    "record_link",
    "record_child",
    "company_record",
    "company_name",
    "removal",
    "data_object",
];

/// The statements of this process, as diesel reports them.
static SAID: std::sync::OnceLock<Arc<Mutex<Vec<String>>>> = std::sync::OnceLock::new();

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = sql_types::Text)]
    detail: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_without_statistics() {
    const SIZE: Size = Size {
        accounts: 200,
        batch: 20,
    };
    let said = Arc::clone(SAID.get_or_init(Arc::default));
    diesel::connection::set_default_instrumentation(|| {
        Some(Box::new(|event: InstrumentationEvent<'_>| {
            if let (InstrumentationEvent::StartQuery { query, .. }, Some(said)) = (event, SAID.get()) {
                said.lock().unwrap().push(query.to_string());
            }
        }))
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tether.db");
    let store = Store::open(&Options {
        connections: 2,
        ..Options::new(format!("sqlite:{}", file.display()))
    })
    .unwrap();
    store.migrate().await.unwrap();
    let one = group(&store, "one").await;
    let of = active(&store, &one, "First").await;
    for (object, make) in [
        ("Account", account_row as fn(usize, i64, Micros) -> RecordRow),
        ("Contact", contact_row),
    ] {
        let rows = (0..SIZE.accounts).map(|i| make(i, 0, NOW)).collect();
        store
            .record_refresh(refresh(&of, NOW, vec![batch(object, NOW, rows)]))
            .await
            .unwrap();
    }
    said.lock().unwrap().clear();
    let mut world = World {
        store,
        watch: Watch::Sqlite {
            said,
            explained: BTreeMap::new(),
        },
        called: BTreeSet::new(),
        faults: Vec::new(),
        state: "SQLite".to_owned(),
    };
    round(&mut world, &one, &of, SIZE, 0).await;
    all_were_made(&world.called);
    let Watch::Sqlite { explained, .. } = world.watch else {
        unreachable!()
    };
    assert!(explained.len() > 100, "{} statements", explained.len());
    let mut conn = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let mut faults = Vec::new();
    for (said, method) in &explained {
        let text = said.split(" -- binds:").next().unwrap_or_default().trim();
        // diesel's condition for an empty list of keys: nothing is read.
        if text.contains("(1=0)") {
            continue;
        }
        if !["SELECT", "INSERT", "UPDATE", "DELETE"]
            .iter()
            .any(|verb| text.starts_with(verb))
        {
            continue;
        }
        // A data set can be in any database, so that no statement may go over several of them. `data_set` has the heads.
        let mut words = text.split([' ', '`', '.', '(', ')', ',']);
        let of_data = words.any(|word| OF_DATA_SETS.contains(&word));
        if of_data && !text.contains("integration_id") {
            faults.push(format!("{method} does not name the integration:\n  {text}"));
        }
        let steps: Vec<Step> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {text}"))
            .load(&mut conn)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        for Step { detail } in steps {
            let Some((table, whole)) = goes_through(&detail, text) else {
                continue;
            };
            let known = WHOLE
                .iter()
                .any(|(call, what)| call == method && detail.contains(what));
            if whole && LARGE.contains(&table.as_str()) && !known {
                faults.push(format!("{method}: {detail}\n  {text}"));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} statements go through too much:\n\n{}",
        faults.len(),
        faults.join("\n")
    );
}
