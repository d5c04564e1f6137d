//! The query plans of all statements: on PostgreSQL in three states of its statistics (none, those of another
//! integration only, good ones) with custom and generic plans, and on SQLite without statistics.
//!
//! The statements are not listed here: every method of [`Store`] is called, and the database reports the
//! statements. PostgreSQL's `auto_explain` logs the plan of each statement with the rows and pages it read;
//! on SQLite diesel reports the text of each statement for EXPLAIN QUERY PLAN. A test fails for methods that
//! are neither called here nor listed in [`ELSEWHERE`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use super::*;

/// Methods that are not called here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("migrate", "its statements are the migrations'"),
    (
        "sync_settle",
        "goes through the marks of one object by their key, some at a time; `store::removal` makes them",
    ),
    (
        "release_all_leases",
        "once, at the start of the one process that has a SQLite file",
    ),
    (
        "credential_list_sealed_otherwise",
        "the operator's key rotation: all credentials, in pages",
    ),
    (
        "outbox_list_sealed_otherwise",
        "the operator's key rotation: all that is due, in pages",
    ),
    (
        "authorization_list_unused",
        "the operator's key rotation: all logins, in pages",
    ),
    ("outbox_reseal", "the operator's key rotation, by key"),
    ("authorization_reseal", "the operator's key rotation, by key"),
    ("credential_reseal", "the operator's key rotation, by key"),
    (
        "credential_release_unused",
        "hourly, over all credentials; there are few",
    ),
    ("credential_purge", "hourly, over all credentials; there are few"),
    ("drafts_expire", "hourly, by the index of what expires"),
    ("group_purge", "hourly, over the groups that were deleted"),
    (
        "authorization_purge",
        "hourly, some rows at a time, by the index of times",
    ),
    (
        "request_purge",
        "hourly, some rows at a time, by the index of times",
    ),
    (
        "outbox_purge",
        "hourly, some rows at a time, by the index of times",
    ),
    ("credential_list_due", "looks over all credentials; there are few"),
    (
        "credential_list_idle",
        "every ten minutes, over all credentials; there are few",
    ),
    (
        "organization_purge",
        "hourly, over all organizations; there are few",
    ),
    ("credential_accepted", "by key"),
    ("credential_refused", "by key"),
    ("credential_try_soon", "by key"),
    ("group_erase", "an operator's: all of a group"),
    (
        "data_purge_orphans",
        "every ten minutes, over the heads of data sets; one for each integration",
    ),
    (
        "company_fill_all",
        "at the start and every ten minutes, over the heads of data sets; one for each integration",
    ),
    ("identity_version", "one row of the meta table"),
    ("identity_begin", "once, at the first start with other rules"),
    (
        "identity_move",
        "once, at the first start with other rules: all companies, in batches",
    ),
    ("transaction", "runs the calls that are given to it"),
    ("transaction_anew", "runs the calls that are given to it"),
    ("rehearse", "runs the calls that are given to it"),
];

/// The store that is called, and the findings.
struct World {
    store: Store,
    watch: Watch,
    called: BTreeSet<&'static str>,
    faults: Vec<String>,
    /// A description of the current state.
    state: String,
}

enum Watch {
    Postgres {
        log: std::path::PathBuf,
        name: String,
        read: u64,
    },
    Sqlite {
        said: Arc<Mutex<Vec<String>>>,
        explained: BTreeMap<String, &'static str>,
    },
}

/// Calls a method. It may read `rows` rows: the number of keys it was given plus the number of rows it
/// returns or changes.
macro_rules! ask {
    ($world:expr, $rows:expr, $method:ident($($argument:expr),* $(,)?)) => {{
        let answer = $world.store.$method($($argument),*).await;
        $world.done(stringify!($method), $rows);
        answer.unwrap_or_else(|error| panic!("{} ({}): {error:?}", stringify!($method), $world.state))
    }};
}

mod reading;
mod statements;
mod states;

use reading::{cost, plans, tree};

impl World {
    /// Checks the statements of a call against its limit.
    fn done(&mut self, method: &'static str, rows: usize) {
        self.called.insert(method);
        match &mut self.watch {
            Watch::Sqlite { said, explained } => {
                for text in said.lock().unwrap().drain(..) {
                    explained.entry(text).or_insert(method);
                }
            }
            Watch::Postgres { log, name, read } => {
                for plan in plans(log, name, read) {
                    let (visited, pages) = cost(&plan["Plan"]);
                    // A row counts in each step that it passes; an index has some levels of pages, and a
                    // written row changes six indexes.
                    let (most_visited, most_pages) = (12.0 * rows as f64 + 400.0, 60.0 * rows as f64 + 600.0);
                    if visited > most_visited || pages > most_pages {
                        self.faults.push(format!(
                            "{}, {method}: {visited} rows (at most {most_visited}), {pages} pages (at most {most_pages})\n{}\n{}",
                            self.state,
                            plan["Query Text"].as_str().unwrap_or_default(),
                            tree(&plan["Plan"], 1),
                        ));
                    }
                }
            }
        }
    }
}

/// The methods of the store, from its source.
fn methods() -> BTreeSet<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let in_transactions = text
                .split("impl Tx<'_> {\n")
                .skip(1)
                .map(|block| block.split("\n}\n").next().unwrap_or_default());
            let calls = text.split("pub async fn ").skip(1);
            for part in calls.chain(in_transactions.flat_map(|block| block.split("    pub fn ").skip(1))) {
                found.insert(part.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

fn all_were_made(called: &BTreeSet<&'static str>) {
    let known: BTreeSet<String> = called
        .iter()
        .copied()
        .chain(ELSEWHERE.iter().map(|(name, _)| *name))
        .map(str::to_owned)
        .collect();
    let missing: Vec<String> = methods().difference(&known).cloned().collect();
    assert!(
        missing.is_empty(),
        "calls of the store whose plans nobody looks at: make them in `round`, or say in ELSEWHERE why not: {missing:?}"
    );
}
