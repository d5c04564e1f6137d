//! Direct access to the database, for what no method of the store returns.

use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_types};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = sql_types::Text)]
    text: String,
}

/// The column `text` of each row.
pub(super) fn ask(url: &str, sql: &str) -> Vec<String> {
    let query = diesel::sql_query(sql);
    let rows: Vec<Row> = match url.strip_prefix("sqlite:") {
        Some(path) => query.load(&mut SqliteConnection::establish(path).unwrap()),
        None => query.load(&mut PgConnection::establish(url).unwrap()),
    }
    .unwrap();
    rows.into_iter().map(|row| row.text).collect()
}

/// The number of rows of a table that meet a condition.
pub(super) fn count(url: &str, table: &str, condition: &str) -> usize {
    let sql = format!("SELECT CAST(count(*) AS text) AS text FROM {table} WHERE {condition}");
    ask(url, &sql)[0].parse().unwrap()
}

/// The value of a row of `meta`.
pub(super) fn meta(url: &str, key: &str) -> Option<String> {
    ask(
        url,
        &format!("SELECT value AS text FROM meta WHERE key = '{key}'"),
    )
    .pop()
}

/// Sets the value of a row of `meta`.
pub(super) fn set_meta(url: &str, key: &str, value: &str) {
    let sql = format!(
        "INSERT INTO meta (key, value) VALUES ('{key}', '{value}') ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    );
    run(url, &sql);
}

/// Changes what is stored, behind the product's back.
pub(super) fn run(url: &str, sql: &str) {
    use diesel::connection::SimpleConnection as _;
    match url.strip_prefix("sqlite:") {
        Some(path) => SqliteConnection::establish(path).unwrap().batch_execute(sql),
        None => PgConnection::establish(url).unwrap().batch_execute(sql),
    }
    .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
