//! What each statement goes through to find its rows, on PostgreSQL in three states of its statistics (none, another
//! integration's only, good ones) under custom and generic plans, and on SQLite without statistics.
//!
//! The statements are not listed: every call of [`Store`] is made, and the database itself tells what it ran. PostgreSQL's
//! `auto_explain` writes the plan of each statement with the rows and pages it touched; on SQLite diesel tells the texts, of
//! which EXPLAIN QUERY PLAN is asked. A call that is neither made here nor in [`ELSEWHERE`] fails a test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::{InstrumentationEvent, SimpleConnection as _},
    sql_types,
};
use serde_json::Value as Json;

use super::*;
use crate::support::postgres;

/// Calls that are not made here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("migrate", "its statements are the migrations'"),
    ("ping", "reads no table"),
    (
        "sync_settle",
        "goes through the marks of one object by their key, some at a time; `store::removal` makes them",
    ),
    (
        "release_all_leases",
        "once, at the start of the one process that has a SQLite file",
    ),
    (
        "grant_list_sealed_otherwise",
        "the operator's key rotation: all grants, in pages",
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
    ("grant_reseal", "the operator's key rotation, by key"),
    ("grant_release_unused", "hourly, over all grants; there are few"),
    ("grant_purge", "hourly, over all grants; there are few"),
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
    ("grant_list_due", "looks over all grants; there are few"),
    ("grant_accepted", "by key"),
    ("grant_refused", "by key"),
    ("grant_try_soon", "by key"),
    ("group_erase", "an operator's: all of a group"),
    ("identity_version", "one row of the meta table"),
    ("identity_begin", "once, at the first start with other rules"),
    (
        "identity_move",
        "once, at the first start with other rules: all companies, in batches",
    ),
    ("integration_check_new", "what integration_create checks, alone"),
    ("integration_check_names", "what integration_update checks, alone"),
];

/// What is there before a round: so many accounts, as many contacts under them, and a tenth of it in other tables.
#[derive(Clone, Copy)]
struct Size {
    accounts: usize,
    /// Keys of a batch.
    batch: usize,
}

fn account(i: usize) -> String {
    format!("001{i:015}")
}

fn contact(i: usize) -> String {
    format!("003{i:015}")
}

fn company(i: usize) -> CompanyId {
    format!("{i:08x}-0000-5000-8000-{i:012x}").parse().unwrap()
}

/// Where the calls go, and what they were found to do.
struct World {
    store: Store,
    watch: Watch,
    called: BTreeSet<&'static str>,
    faults: Vec<String>,
    /// What is going on, for people.
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

/// Makes a call. It may go through so many rows: the keys it was given and the rows it answers or changes.
macro_rules! ask {
    ($world:expr, $rows:expr, $method:ident($($argument:expr),* $(,)?)) => {{
        let answer = $world.store.$method($($argument),*).await;
        $world.done(stringify!($method), $rows);
        answer.unwrap_or_else(|error| panic!("{} ({}): {error:?}", stringify!($method), $world.state))
    }};
}

impl World {
    /// Holds what a call ran against what it may go through.
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
                    // A row is counted in each step it passes; an index is some pages deep, and a written row goes into six.
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

/// The plans that were written since, of statements in this database.
fn plans(log: &Path, database: &str, read: &mut u64) -> Vec<Json> {
    use std::io::{Read as _, Seek as _};
    let mut file = fs::File::open(log).unwrap();
    file.seek(std::io::SeekFrom::Start(*read)).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    *read += bytes.len() as u64;
    let text = String::from_utf8_lossy(&bytes);
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.starts_with(&format!("{database}: LOG:")) && line.ends_with("plan:")) {
            continue;
        }
        let mut json = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(line);
            json.push('\n');
        }
        found.push(serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}")));
    }
    found
}

fn number(plan: &Json, name: &str) -> f64 {
    plan[name].as_f64().unwrap_or(0.0)
}

/// The rows that the steps of a plan went through, and the pages it touched.
fn cost(plan: &Json) -> (f64, f64) {
    let own = [
        "Actual Rows",
        "Rows Removed by Filter",
        "Rows Removed by Join Filter",
        "Rows Removed by Index Recheck",
    ]
    .iter()
    .map(|name| number(plan, name))
    .sum::<f64>()
        * number(plan, "Actual Loops");
    let below: f64 = plan["Plans"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|plan| cost(plan).0)
        .sum();
    (
        own + below,
        number(plan, "Shared Hit Blocks") + number(plan, "Shared Read Blocks"),
    )
}

/// A plan for people.
fn tree(plan: &Json, depth: usize) -> String {
    let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "{}{} {} {} rows {} of {} expected, loops {}, pages {} [{}{}]\n",
        "  ".repeat(depth),
        text("Node Type"),
        text("Relation Name"),
        text("Index Name"),
        number(plan, "Actual Rows"),
        number(plan, "Plan Rows"),
        number(plan, "Actual Loops"),
        number(plan, "Shared Hit Blocks") + number(plan, "Shared Read Blocks"),
        text("Index Cond"),
        text("Filter"),
    );
    for below in plan["Plans"].as_array().into_iter().flatten() {
        out.push_str(&tree(below, depth + 1));
    }
    out
}

fn account_row(i: usize, version: i64, read_us: Micros) -> RecordRow {
    RecordRow {
        company_id: Some(company(i)),
        homepage: Some(format!("company{i}.com")),
        read_us,
        ..row(&account(i), (i as i64) * 100 + version, NOW + version)
    }
}

fn contact_row(i: usize, version: i64, read_us: Micros) -> RecordRow {
    let parents = vec![Parent {
        object: "Account".to_owned(),
        external_id: account(i),
    }];
    RecordRow {
        parents,
        read_us,
        ..row(&contact(i), (i as i64) * 100 + version, NOW + version)
    }
}

/// Every call, on an integration of this size. `round` counts from 0: each takes other rows.
async fn round(w: &mut World, group_id: &GroupId, of: &Integration, size: Size, round: usize) {
    // As it is now: the round before may have begun another generation of it.
    let of = &w.store.integration_get(of.id).await.unwrap();
    let n = size.batch;
    let first = round * 4 * n;
    let version = 1 + round as i64;
    let read_us = NOW + MINUTE * version;
    let ids = |from: usize| (from..from + n).map(account).collect::<Vec<String>>();
    let companies: Vec<CompanyId> = (first..first + 50).map(company).collect();

    // The queue and the commit of a sync.
    let sync = match ask!(
        w,
        1,
        sync_enqueue(NewSync {
            integration_id: of.id,
            trigger: SyncTrigger::Manual,
            create_by: "ada".to_owned(),
            due_us: NOW - MINUTE,
            confirms: None,
            now_us: NOW,
        })
    ) {
        Enqueued::New(sync) | Enqueued::AlreadyRunning(sync) => sync,
    };
    let mut now = NOW;
    let sync = loop {
        assert!(now < NOW + 100 * MINUTE, "{} is never leased", sync.id);
        // None where it ended a sync that was asked to stop, or where all are held: by a round before, whose leases end.
        let leased = ask!(w, 1, sync_lease_next("worker", now, now + MINUTE));
        now += 2 * MINUTE;
        let Some(leased) = leased else {
            continue;
        };
        if leased.id == sync.id {
            break leased;
        }
    };
    ask!(w, 1, sync_heartbeat(sync.id, sync.fence, NOW + MINUTE));
    let news = ObjectProgress {
        object: "Account".to_owned(),
        position: 0,
        state: Some(ObjectState::Reading),
        expected: Some(7),
        error: None,
        tries: None,
    };
    ask!(w, 1, sync_object_upsert(sync.id, sync.fence, vec![news]));
    let covers = |from: usize| {
        Some(Covers {
            after: account(from),
            through: account(from + n),
            order: IdOrder::Bytes,
        })
    };
    // Changed; the same with other times; new ones; those of a range that are gone; marked as gone.
    let changed: Vec<_> = (first..first + n)
        .map(|i| account_row(i, version, read_us))
        .collect();
    let linked: Vec<_> = (first..first + n)
        .map(|i| contact_row(i, version, read_us))
        .collect();
    ask!(
        w,
        n,
        sync_commit(commit(&sync, vec![batch("Account", read_us, changed.clone())]))
    );
    ask!(
        w,
        n,
        sync_commit(commit(&sync, vec![batch("Contact", read_us, linked)]))
    );
    let moved = changed
        .iter()
        .map(|row| RecordRow {
            modified_us: row.modified_us + 1,
            ..row.clone()
        })
        .collect();
    ask!(
        w,
        n,
        sync_commit(commit(&sync, vec![batch("Account", read_us + 1, moved)]))
    );
    let listed = RecordBatch {
        covers: covers(first + n),
        ..batch("Account", read_us, Vec::new())
    };
    ask!(w, n, sync_commit(commit(&sync, vec![listed])));
    let gone = (first..first + n).map(|i| RecordRow {
        deleted: true,
        ..contact_row(i, version + 1, read_us + 2)
    });
    ask!(
        w,
        n,
        sync_commit(commit(&sync, vec![batch("Contact", read_us + 2, gone.collect())]))
    );
    ask!(w, 1, sync_get(sync.id));
    ask!(w, 1, sync_objects(sync.id));
    ask!(w, 1, sync_progress(sync.id));
    ask!(w, 20, sync_list(of.id, None, 20));
    ask!(w, 20, sync_list(of.id, Some((NOW - 500, sync.id)), 20));
    ask!(
        w,
        1,
        sync_wait(sync.id, sync.fence, NOW, "CRM_UNAVAILABLE", "later")
    );
    ask!(w, 1, sync_cancel_request(sync.id, NOW));
    ask!(
        w,
        1,
        sync_enqueue(NewSync {
            integration_id: of.id,
            trigger: SyncTrigger::Manual,
            create_by: "ada".to_owned(),
            due_us: NOW - MINUTE,
            confirms: None,
            now_us: NOW,
        })
    );
    let sync = ask!(w, 1, sync_lease_next("worker", NOW, NOW + MINUTE)).unwrap();
    // Counts all companies of the integration.
    ask!(
        w,
        size.accounts,
        sync_finish(SyncEnd {
            sync_id: sync.id,
            fence: sync.fence,
            state: SyncState::Succeeded,
            error_reason: String::new(),
            error_message: String::new(),
            note: String::new(),
            company_records: None,
            now_us: NOW,
        })
    );
    ask!(w, 20, sync_purge(NOW - 9_000_000, 20));

    // Live reads.
    let live = Refresh {
        complete: vec![ChildSet {
            parent_object: "Account".to_owned(),
            parent_id: account(first + 2 * n + 1),
            child_object: "Contact".to_owned(),
        }],
        ..refresh(
            of,
            read_us + 3,
            vec![batch(
                "Account",
                read_us + 3,
                vec![account_row(first + 2 * n + 1, version, 0)],
            )],
        )
    };
    ask!(w, 2, record_refresh(live));

    // The feed.
    let head = ask!(w, 1, record_change_no(of.id));
    ask!(
        w,
        3 * n,
        record_changes(of.id, size.accounts as i64 / 2, n as i64, 1 << 30)
    );
    ask!(
        w,
        3 * n,
        record_changes(of.id, head - n as i64, n as i64, 1 << 30)
    );
    ask!(
        w,
        3 * n,
        record_changes(
            of.id,
            size.accounts as i64 + size.accounts as i64 / 2,
            n as i64,
            1 << 30
        )
    );
    ask!(w, 1, record_forgotten(of.id));
    // The rows of 2 n tombstones are looked at for the last number.
    ask!(w, 3 * n, record_forget(of.id, NOW + 1, 10));

    // Look-ups.
    ask!(w, 50, record_company_keys(of.id, companies.clone()));
    ask!(
        w,
        3 * n,
        record_links(of.id, "Account", ids(first + 2 * n), "Contact")
    );
    ask!(
        w,
        3 * n,
        record_related_keys(of.id, "Account", ids(first + 2 * n), "Contact")
    );
    let seen = ask!(
        w,
        3 * n,
        record_each(of.id, "Account", ids(first + 2 * n), 0_usize, |seen, _| {
            *seen += 1;
            true
        })
    );
    assert!(seen > 0);

    // Companies.
    let sources = vec![of.id];
    let after = CompanyKey {
        name_key: "name 0010000000000000".to_owned(),
        company_id: company(0),
    };
    // A page looks at some more entries than it shows, and each entry's company is looked up.
    ask!(w, 200, company_list_all(group_id, sources.clone(), None, 50));
    ask!(
        w,
        200,
        company_list_all(group_id, sources.clone(), Some(after.clone()), 50)
    );
    ask!(w, 100, company_list_tracked(group_id, sources.clone(), None, 50));
    ask!(
        w,
        100,
        company_list_tracked(group_id, sources.clone(), Some(after), 50)
    );
    ask!(
        w,
        100,
        company_get_many(group_id, sources.clone(), companies.clone())
    );
    ask!(
        w,
        100,
        company_get_tracked(group_id, sources.clone(), companies.clone())
    );
    ask!(w, 2, company_get(group_id, sources.clone(), company(first)));
    ask!(w, size.accounts, company_tracked(group_id));
    ask!(w, size.accounts, company_count_tracked(group_id));
    ask!(w, 2 * size.accounts, company_count_all(group_id, sources));
    let track = |i: usize| Track {
        company_id: company(i),
        name: "Name".to_owned(),
        homepage: String::new(),
    };
    ask!(
        w,
        50,
        company_track(group_id, (0..50).map(track).collect(), "ada", NOW)
    );
    ask!(w, 50, company_untrack(group_id, companies));

    // What happened, and who did it.
    ask!(w, 1, event_head(group_id));
    ask!(w, 1, event_heads(vec![group_id.clone()]));
    ask!(w, 100, event_list(group_id, 100, 100));
    ask!(w, 40, event_purge(NOW - 9_990_000 + round as i64 * 10, 20));
    let entry = AuditEntry {
        id: AuditId::new(),
        group_id: group_id.to_string(),
        create_us: NOW,
        actor: "ada".to_owned(),
        role: "ADMIN".to_owned(),
        request_id: "1".to_owned(),
        method: "SyncIntegration".to_owned(),
        resource: of.id.name(),
        detail: "{}".to_owned(),
    };
    let last = (NOW - 100, entry.id);
    ask!(w, 1, audit_append(vec![entry]));
    let of_group = AuditFilter {
        group: Some(group_id.clone()),
        ..AuditFilter::default()
    };
    let of_resource = AuditFilter {
        resource: Some("integrations/7".to_owned()),
        ..of_group.clone()
    };
    ask!(w, 50, audit_list(AuditFilter::default(), None, 50));
    ask!(w, 50, audit_list(of_group.clone(), None, 50));
    ask!(w, 50, audit_list(of_group, Some(last), 50));
    ask!(w, 50, audit_list(of_resource, None, 50));
    ask!(w, 40, audit_purge(NOW - 9_990_000 + round as i64 * 10, 20));

    // What is small.
    let other = crate::store::group_id("other");
    ask!(w, 1, group_upsert(&other, "Other", NOW));
    ask!(w, 1, group_get(group_id));
    ask!(w, 2, group_get_many(vec![group_id.clone(), other.clone()]));
    ask!(w, 20, group_list(None, 20));
    ask!(w, 1, group_connect(group_id, &other, NOW));
    ask!(w, 1, group_connections(group_id));
    ask!(w, 1, enablement_set(enablement(&other, true)));
    ask!(w, 1, enablement_get(group_id, "salesforce"));
    ask!(w, 1, enablement_list(group_id));
    ask!(w, 1, source_list(group_id));
    ask!(w, 1, source_get(group_id, of.id));
    ask!(w, 1, source_connect(group_id, of.id, true));
    ask!(w, 1, field_list_seen(group_id, vec![of.id]));
    ask!(w, 1, integration_get(of.id));
    ask!(
        w,
        20,
        integration_list_by_state(IntegrationState::Active, None, 20)
    );
    ask!(w, 20, integration_heads());
    let industry = FieldRef {
        object: "Account".to_owned(),
        key: "Industry".to_owned(),
    };
    let edit = IntegrationUpdate {
        fields: Some(vec![field("Account", "Industry")]),
        ..no_edit(of.id)
    };
    ask!(w, 5, integration_update(edit));
    ask!(w, 1, field_list(of.id));
    ask!(w, 1, field_mark_missing(of.id, vec![industry.clone()], NOW));
    ask!(w, 1, field_activate(of.id, group_id, vec![industry], vec![]));
    ask!(
        w,
        1,
        share_set(
            of.id,
            NewShare {
                group_id: other.clone(),
                fields: None
            },
            "ada",
            NOW
        )
    );
    ask!(w, 1, share_list(of.id));
    ask!(w, 1, share_remove(of.id, &other, NOW));
    ask!(w, 1, group_disconnect(group_id, &other, NOW));
    ask!(
        w,
        1,
        request_remember(group_id, "Create", "1", "print", "result", NOW)
    );
    ask!(w, 1, request_get(group_id, "Create", "1", "print"));
    let told = NewOutbox {
        kind: OutboxKind::Revoke,
        subject: "subject".to_owned(),
        detail: "{}".to_owned(),
        sealed: vec![1],
        key_id: "k".to_owned(),
    };
    let told = ask!(w, 1, outbox_add(told, NOW));
    ask!(w, 1, outbox_lease_due("worker", NOW, NOW + MINUTE));
    ask!(w, 1, outbox_retry(told, "worker", NOW, "later"));
    ask!(w, 1, outbox_lease_due("worker", NOW, NOW + MINUTE));
    ask!(w, 1, outbox_done(told, "worker", NOW));
    ask!(w, 1, outbox_pending("subject"));

    // Logins, and an integration that comes and goes with its rows.
    let draft = ask!(w, 1, integration_create(new_integration(group_id, "Passing")));
    let hash: AuthorizationHash = "ab".repeat(32).parse().unwrap();
    ask!(
        w,
        1,
        authorization_create(NewAuthorization {
            state_hash: hash.clone(),
            integration_id: draft.id,
            group_id: group_id.clone(),
            create_by: "ada".to_owned(),
            sealed: vec![1],
            key_id: "k".to_owned(),
            redirect_uri: "https://a.example".to_owned(),
            landing: Landing::Tether,
            create_us: NOW,
            expire_us: NOW + MINUTE,
        })
    );
    ask!(w, 1, authorization_get(&hash, NOW));
    ask!(w, 1, authorization_callback(&hash, vec![2], NOW));
    ask!(w, 1, authorization_use(&hash, NOW));
    let grant = ask!(w, 1, grant_put(new_grant("00D", "passing", b"token"), NOW)).grant;
    ask!(w, 1, grant_get(grant.id));
    ask!(
        w,
        1,
        grant_of_account(
            "salesforce",
            AuthKind::AuthorizationCode,
            "client",
            "00D",
            "passing"
        )
    );
    ask!(
        w,
        1,
        integration_attach_grant(AttachGrant {
            id: draft.id,
            grant_id: grant.id,
            account_limit: 5,
            now_us: NOW
        })
    );
    ask!(w, 1, account_count("salesforce", "00D", "passing"));
    ask!(w, 1, grant_lease(grant.id, "worker", NOW, NOW + MINUTE));
    ask!(
        w,
        1,
        grant_store(
            grant.id,
            grant.generation,
            "worker",
            vec![3],
            "k",
            "https://a.example",
            "",
            NOW
        )
    );
    ask!(w, 1, grant_release(grant.id, "worker"));
    ask!(
        w,
        1,
        grant_revoked(grant.id, grant.generation - 1, "REVOKED", "gone", NOW)
    );
    let (passing, _) = ask!(w, 1, integration_activate(activate(draft.id)));
    for from in 0..5 {
        let rows = (from * n..(from + 1) * n)
            .map(|i| contact_row(i, 1, NOW))
            .collect();
        ask!(
            w,
            n,
            record_refresh(refresh(&passing, NOW, vec![batch("Contact", NOW, rows)]))
        );
    }
    ask!(w, 1, integration_delete(passing.id, None, NOW));
    ask!(w, 2 * n, integration_purge(passing.id, n as i64));
    while !w.store.integration_purge(passing.id, 5 * n as i64).await.unwrap() {}
    w.done("integration_purge", 10 * n);
    let draft = ask!(w, 1, integration_create(new_integration(group_id, "Abandoned")));
    ask!(w, 1, integration_abandon(draft.id, NOW));
    ask!(w, 5, group_delete(&other, NOW));
}

/// The calls of the store, out of its source.
fn methods() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for part in text.split("pub async fn ").skip(1) {
            found.insert(part.split(['(', '<']).next().unwrap_or_default().to_owned());
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

/// Fills the tables as if all had been there for long.
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
         INSERT INTO record_link (integration_id, child_object, child_id, parent_object, parent_id) \
         SELECT '{id}', 'Contact', '003' || lpad(i::text, 15, '0'), 'Account', '001' || lpad(i::text, 15, '0') \
         FROM generate_series(0, {n} - 1) i; \
         UPDATE integration SET change_no = {n} * 2 WHERE id = '{id}'; \
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

/// What diesel says of every statement of this process.
static SAID: std::sync::OnceLock<Arc<Mutex<Vec<String>>>> = std::sync::OnceLock::new();

/// Tables that grow. Where one is read, the plan has to come to its rows by an index, and by more than the integration
/// or the group.
const LARGE: &[&str] = &[
    "record",
    "record_link",
    "sync",
    "group_event",
    "audit_entry",
    "tracked_company",
    "request",
    "outbox",
];
/// Calls that go through all of an integration or a group: (call, what SQLite says of it).
const WHOLE: &[(&str, &str)] = &[
    ("sync_finish", "record_company"),
    ("company_tracked", "tracked_company"),
    ("company_count_tracked", "tracked_company"),
    ("company_count_all", "record_company"),
    ("company_count_all", "tracked_company"),
    ("integration_purge", "record"),
    ("integration_purge", "record_link"),
    ("group_delete", "tracked_company"),
    ("group_delete", "group_event"),
    // What is due, all of it; there is little.
    ("outbox_pending", "outbox USING INDEX outbox_due"),
    // The index has the syncs that have not ended: one of an integration.
    ("sync_enqueue", "sync USING INDEX sync_unfinished"),
    ("integration_delete", "sync USING INDEX sync_unfinished"),
    // The newest first, as many as a page has.
    ("audit_list", "audit_entry USING INDEX audit_entry_create"),
    ("audit_list", "audit_entry USING INDEX audit_entry_group"),
    // What goes with the row by its foreign keys.
    ("integration_purge", "sync USING COVERING INDEX sync_integration"),
    (
        "integration_abandon",
        "sync USING COVERING INDEX sync_integration",
    ),
];

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
        // diesel's word for an empty list of keys: nothing is read.
        if text.contains("(1=0)") {
            continue;
        }
        if !["SELECT", "INSERT", "UPDATE", "DELETE"]
            .iter()
            .any(|verb| text.starts_with(verb))
        {
            continue;
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

/// The table that a step of SQLite's plan reads, and whether it goes through all of it, of an integration or of a group.
fn goes_through(detail: &str, text: &str) -> Option<(String, bool)> {
    let mut words = detail.split(' ');
    let verb = words.next()?;
    let named = words.next()?;
    // An alias stands in the text behind its table.
    let before = text
        .split([' ', ',', '`', '(', ')'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>();
    let table = match LARGE.contains(&named) {
        true => named.to_owned(),
        false => before
            .windows(2)
            .find(|two| two[1] == named)
            .map(|two| two[0].to_owned())
            .unwrap_or_default(),
    };
    let whole = match verb {
        "SCAN" => true,
        "SEARCH" => {
            let by = detail
                .rsplit_once('(')
                .map(|(_, by)| by.trim_end_matches(')'))
                .unwrap_or_default();
            matches!(
                by,
                "integration_id=?" | "group_id=?" | "integration_id=? AND object=?"
            )
        }
        _ => return None,
    };
    Some((table, whole))
}
