//! schema.rs compared with the schema that the migrations create.

use std::collections::BTreeMap;

use diesel::{QueryableByName, RunQueryDsl, sql_query, sql_types::Text};

use super::*;

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
    #[diesel(sql_type = Text)]
    type_name: String,
    #[diesel(sql_type = Text)]
    nullable: String,
}

type Tables = BTreeMap<String, Vec<(String, String)>>;

/// The schema that schema.rs declares, in diesel's types.
fn declared() -> Tables {
    let mut tables = Tables::new();
    let mut table = String::new();
    for line in include_str!("../../../src/store/schema.rs").lines() {
        let line = line.trim();
        if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with(") {")) {
            table = name.to_owned();
        } else if line.starts_with("diesel::") {
        } else if let Some((column, ty)) = line.trim_end_matches(',').split_once(" -> ") {
            tables
                .entry(table.clone())
                .or_default()
                .push((column.to_owned(), ty.to_owned()));
        }
    }
    assert!(tables.len() >= 15, "schema.rs was not understood: {tables:?}");
    tables
}

fn found(columns: Vec<Column>) -> Tables {
    let mut tables = Tables::new();
    for column in columns {
        let ty = match column.type_name.to_lowercase().as_str() {
            "text" => "Text",
            "bigint" => "BigInt",
            "blob" | "bytea" => "Binary",
            "boolean" => "Bool",
            other => panic!("{}.{} is {other}", column.table_name, column.column_name),
        };
        let ty = if column.nullable == "YES" {
            format!("Nullable<{ty}>")
        } else {
            ty.to_owned()
        };
        tables
            .entry(column.table_name)
            .or_default()
            .push((column.column_name, ty));
    }
    tables
}

#[tokio::test]
async fn sqlite_is_as_declared() {
    use diesel::Connection;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tether.db").display().to_string();
    let store = Store::open(&Options::new(format!("sqlite:{path}"))).unwrap();
    let all = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite"))
        .unwrap()
        .count();
    assert_eq!(store.migrate().await.unwrap().0.len(), all);
    assert_eq!(store.migrate().await.unwrap().0.len(), 0);
    let mut conn = diesel::SqliteConnection::establish(&path).unwrap();
    let columns = sql_query(
        "SELECT t.name AS table_name, c.name AS column_name, c.type AS type_name, \
         CASE c.\"notnull\" WHEN 0 THEN 'YES' ELSE 'NO' END AS nullable \
         FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '\\_\\_%' ESCAPE '\\' \
         ORDER BY t.name, c.cid",
    )
    .load(&mut conn)
    .unwrap();
    assert_eq!(found(columns), declared());
}

#[tokio::test]
async fn postgres_is_as_declared() {
    use diesel::Connection;
    let store = Fixture::postgres().await;
    assert_eq!(store.migrate().await.unwrap().0.len(), 0);
    let Base::Postgres { _database } = &store._base else {
        unreachable!()
    };
    let mut conn = diesel::PgConnection::establish(&_database.url).unwrap();
    let columns = sql_query(
        "SELECT table_name::text, column_name::text, data_type::text AS type_name, is_nullable::text AS nullable \
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%' \
         ORDER BY table_name, ordinal_position",
    )
    .load(&mut conn)
    .unwrap();
    let mut expected = declared();
    // PostgreSQL has an index instead.
    expected.remove("record_child");
    assert_eq!(found(columns), expected);
}

/// What PostgreSQL has of these tables: columns, indexes and the order of primary keys.
fn shape(url: &str) -> Vec<String> {
    use diesel::Connection;
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    const DATA: &str =
        "('record', 'record_link', 'company_record', 'company_name', 'removal', 'data_set', 'data_object')";
    let mut conn = diesel::PgConnection::establish(url).unwrap();
    let lines: Vec<Line> = sql_query(format!(
        "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' \
         || coalesce(collation_name, '') AS line FROM information_schema.columns WHERE table_name IN {DATA} \
         UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename IN {DATA} ORDER BY 1"
    ))
    .load(&mut conn)
    .unwrap();
    lines.into_iter().map(|line| line.line).collect()
}

#[tokio::test]
async fn a_database_of_data_sets_has_their_tables_alone() {
    use diesel::Connection;
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let store = Fixture::split().await;
    let urls = store.data_urls();
    assert_eq!(urls.len(), 3);
    for url in &urls[1..] {
        assert_eq!(shape(url), shape(&urls[0]));
        let mut conn = diesel::PgConnection::establish(url).unwrap();
        let names: Vec<Name> = sql_query(
            "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public' \
             AND table_name NOT LIKE '\\_\\_%' ORDER BY 1",
        )
        .load(&mut conn)
        .unwrap();
        let names: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "company_name",
                "company_record",
                "data_object",
                "data_read",
                "data_set",
                "data_wanted",
                "record",
                "record_link",
                "removal"
            ]
        );
    }
}

#[tokio::test]
async fn replicas_migrate_one_at_a_time() {
    let store = Fixture::postgres().await;
    let Base::Postgres { _database } = &store._base else {
        unreachable!()
    };
    let other = Store::open(&Options::new(&_database.url)).unwrap();
    let (a, b) = tokio::join!(store.migrate(), other.migrate());
    assert_eq!((a.unwrap().0.len(), b.unwrap().0.len()), (0, 0));
}

#[tokio::test]
async fn wrong_addresses_are_explained() {
    for (url, word) in [
        ("mysql://x", "sqlite:"),
        ("sqlite:", "path"),
        ("sqlite::memory:", "path"),
        ("postgres://h/d?sslmode=require", "TLS"),
        ("postgres://h/d?a=b&sslmode=verify-full", "TLS"),
        ("sqlite:/nowhere/at/all/x.db", "/nowhere/at/all/x.db"),
    ] {
        let error = Store::open(&Options::new(url)).unwrap_err().to_string();
        assert!(error.contains(word), "{url}: {error}");
    }
    let error = Store::open(&Options::new("postgres://u:secret@127.0.0.1:1/d"))
        .unwrap_err()
        .to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn sqlite_files_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("tether.db").display());
    let store = Store::open(&Options::new(&url)).unwrap();
    store.migrate().await.unwrap();
    let g = group(&store, "g").await;
    drop(store);
    let store = Store::open(&Options::new(&url)).unwrap();
    assert_eq!(store.group_get(&g).await.unwrap().display_name, "g");
}

#[tokio::test]
async fn lost_connections_are_replaced() {
    use diesel::Connection;
    let store = Fixture::postgres().await;
    let Base::Postgres { _database } = &store._base else {
        unreachable!()
    };
    let many = futures(8, |_| {
        let store = Store::clone(&store);
        async move { store.identity_version().await }
    });
    assert!(many.await.iter().all(Result::is_ok));
    let mut conn = diesel::PgConnection::establish(&_database.url).unwrap();
    sql_query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(&mut conn)
    .unwrap();
    // The first call that meets a dead connection returns a retryable error and removes the other dead
    // connections.
    let mut failed = 0;
    while let Err(error) = store.identity_version().await {
        assert!(error.is_retryable(), "{error:?}");
        failed += 1;
        assert!(failed < 8);
    }
    assert!(store.group_upsert(&group_id("g"), "g", NOW).await.is_ok());
}
