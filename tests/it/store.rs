//! The contract of the store, on both databases.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{ops::Deref, time::Duration};

use tether::{domain::*, store::*};

use crate::support::alone::Alone as _;

mod children;
mod company;
mod event;
mod first_load;
mod identity;
mod integration;
mod limits;
mod locks;
mod plans;
mod raw;
mod record;
mod removal;
mod schedule;
mod schema;
mod seam;
mod share;
mod slots;
mod small;
mod sync;
mod turns;

/// A store with its database.
pub(crate) struct Fixture {
    store: Store,
    url: String,
    _base: Base,
}

enum Base {
    Sqlite {
        _folder: tempfile::TempDir,
    },
    Postgres {
        _database: crate::support::postgres::Database,
    },
}

impl Deref for Fixture {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Fixture {
    /// The addresses of the databases that hold data sets.
    pub(crate) fn data_urls(&self) -> Vec<String> {
        let mut urls = vec![self.url.clone()];
        if let Base::Postgres { _database } = &self._base {
            urls.extend(_database.data_urls().into_iter().map(|(_, url)| url));
        }
        urls
    }

    /// Rows of a table, in all databases together.
    pub(crate) fn count(&self, table: &str, condition: &str) -> usize {
        self.data_urls()
            .iter()
            .filter(|url| {
                **url == self.url
                    || ["record", "record_link", "removal", "data_set", "data_object"].contains(&table)
            })
            .map(|url| raw::count(url, table, condition))
            .sum()
    }

    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("tether.db").display());
        let store = Store::open(&Options {
            connections: 4,
            ..Options::new(&url)
        })
        .unwrap();
        store.migrate().await.unwrap();
        Self {
            store,
            url,
            _base: Base::Sqlite { _folder: folder },
        }
    }

    pub(crate) async fn postgres() -> Self {
        Self::on(crate::support::postgres::database).await
    }

    /// Control in one database, the data sets in two others.
    pub(crate) async fn split() -> Self {
        Self::on(crate::support::postgres::split).await
    }

    async fn on(make: fn() -> crate::support::postgres::Database) -> Self {
        let database = tokio::task::spawn_blocking(make).await.unwrap();
        let store = Store::open(&Options {
            data: database.data_urls().into_iter().collect(),
            connections: 8,
            connection_timeout: Duration::from_secs(30),
            ..Options::new(&database.url)
        })
        .unwrap();
        assert!(store.migrate().await.unwrap().1.is_empty());
        Self {
            store,
            url: database.url.clone(),
            _base: Base::Postgres { _database: database },
        }
    }
}

/// Makes each test one on SQLite, one on PostgreSQL and one on PostgreSQL with the data sets in two further databases.
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($store:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn test($store: &crate::store::Fixture) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                test(&crate::store::Fixture::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                test(&crate::store::Fixture::postgres().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_with_two_for_data() {
                test(&crate::store::Fixture::split().await).await;
            }
        }
    )+};
}
use both;

/// A minute, in microseconds.
const MINUTE: Micros = 60_000_000;
/// The time at which the tests begin.
const NOW: Micros = 1_800_000_000_000_000;

fn group_id(text: &str) -> GroupId {
    text.parse().unwrap()
}

/// A group that has enabled the connector.
async fn group(store: &Store, id: &str) -> GroupId {
    let id = group_id(id);
    store.group_upsert(&id, &id.to_string(), NOW).await.unwrap();
    store.enablement_set(enablement(&id, true)).await.unwrap();
    id
}

fn request(group_id: &GroupId, id: &str) -> Request {
    Request {
        group_id: group_id.clone(),
        method: "Create".to_owned(),
        id: id.to_owned(),
        fingerprint: "print".to_owned(),
    }
}

fn enablement(group_id: &GroupId, enabled: bool) -> Enablement {
    Enablement {
        group_id: group_id.clone(),
        connector: "salesforce".to_owned(),
        enabled,
        update_us: NOW,
        update_by: "ada".to_owned(),
    }
}

fn no_edit(id: IntegrationId) -> IntegrationUpdate {
    IntegrationUpdate {
        id,
        revision: None,
        display_name: None,
        label: None,
        settings: None,
        schedule: None,
        budget: None,
        fields: None,
        shares: None,
        connected: None,
        by: "ada".to_owned(),
        now_us: NOW,
    }
}

async fn label(store: &Store, of: &Integration) -> String {
    store
        .source_get(&of.group_id, of.id)
        .await
        .unwrap()
        .unwrap()
        .label
}

fn new_integration(group_id: &GroupId, name: &str) -> NewIntegration {
    NewIntegration {
        group_id: group_id.clone(),
        connector: "salesforce".to_owned(),
        display_name: name.to_owned(),
        label: None,
        connected: true,
        settings: r#"{"domain":"acme"}"#.to_owned(),
        schedule: Schedule::hourly(),
        budget: ApiBudget::default(),
        create_by: "ada".to_owned(),
        now_us: NOW,
        expire_us: NOW + 30 * 24 * 60 * MINUTE,
        most_drafts: 1_000,
    }
}

fn new_credential(organization: &str, user: &str, sealed: &[u8]) -> NewCredential {
    NewCredential {
        connector: "salesforce".to_owned(),
        auth_kind: AuthKind::AuthorizationCode,
        client_id: "client".to_owned(),
        organization_id: organization.to_owned(),
        user_id: user.to_owned(),
        organization_name: "Acme".to_owned(),
        username: format!("{user}@acme.com"),
        user_display_name: user.to_owned(),
        base_url: "https://acme.my.salesforce.com".to_owned(),
        sealed: sealed.to_vec(),
        key_id: "k1".to_owned(),
        refreshable: true,
    }
}

async fn log_in(store: &Store, id: IntegrationId, user: &str) -> Attached {
    let credential = store
        .credential_put(new_credential("00D", user, b"token"), NOW)
        .await
        .unwrap()
        .credential;
    attach(store, id, credential.id).await.unwrap()
}

async fn attach(store: &Store, id: IntegrationId, credential_id: CredentialId) -> Result<Attached, Error> {
    store
        .integration_attach_credential(AttachCredential {
            id,
            credential_id,
            account_limit: 5,
            now_us: NOW,
        })
        .await
}

fn activate(id: IntegrationId) -> Activate {
    Activate {
        id,
        revision: None,
        account_limit: 5,
        company_records: Some(3),
        by: "ada".to_owned(),
        now_us: NOW,
    }
}

/// A worker that finds a place for each sync.
fn worker(name: &str) -> Worker {
    Worker {
        owner: name.to_owned(),
        per_organization: 1_000,
        breaker: Breaker::default(),
    }
}

/// A saved integration with an account of its own and its first sync queued.
async fn active(store: &Store, group_id: &GroupId, name: &str) -> Integration {
    let draft = store
        .integration_create(new_integration(group_id, name))
        .await
        .unwrap();
    log_in(store, draft.id, &slug(name)).await;
    store.integration_activate(activate(draft.id)).await.unwrap().0
}

fn field(object: &str, key: &str) -> Field {
    Field {
        integration_id: IntegrationId::from_uuid(uuid::Uuid::nil()),
        object: object.to_owned(),
        key: key.to_owned(),
        label: key.to_owned(),
        field_type: FieldType::Text,
        describe: "{}".to_owned(),
        position: 0,
        missing_us: None,
        alias: String::new(),
        select_us: 0,
    }
}

fn row(id: &str, hash: i64, modified_us: Micros) -> RecordRow {
    RecordRow {
        external_id: id.to_owned(),
        company_id: None,
        name: format!("Name {id}"),
        homepage: None,
        payload: format!(r#"{{"Hash":{hash}}}"#),
        hash,
        modified_us,
        read_us: 0,
        deleted: false,
        merged_into: None,
        parents: Vec::new(),
    }
}

/// Rows read at this time by the CRM's clock.
fn batch(object: &str, read_us: Micros, rows: Vec<RecordRow>) -> RecordBatch {
    RecordBatch {
        object: object.to_owned(),
        rows,
        complete_range: None,
        read: ReadTime::crm(read_us),
        partial: None,
    }
}

fn commit(sync: &Sync, batches: Vec<RecordBatch>) -> SyncCommit {
    SyncCommit {
        sync_id: sync.id,
        fence: sync.fence,
        integration_id: sync.integration_id,
        generation: sync.generation,
        batches,
        checkpoint: Some(b"checkpoint".to_vec()),
        objects: Vec::new(),
        bytes: 10,
        api_calls: 1,
        missing_fields: Vec::new(),
        field_types: Vec::new(),
        now_us: NOW,
        reads: Vec::new(),
        is_first_load: false,
    }
}

fn refresh(of: &Integration, read_us: Micros, batches: Vec<RecordBatch>) -> Refresh {
    Refresh {
        integration_id: of.id,
        generation: of.generation,
        batches,
        complete: Vec::new(),
        read: ReadTime::crm(read_us),
        now_us: read_us,
    }
}

/// Removes everything that a listing lacks.
const TRUSTING: RemovalGuard = RemovalGuard {
    rows: 0,
    percent: 100,
    again_us: 60 * MINUTE,
};

/// The change feed of an integration after this change number, to its end.
async fn feed(store: &Store, id: IntegrationId, mut after: i64) -> Vec<Change> {
    let mut all = Vec::new();
    loop {
        let page = store.record_changes(id, after, 5_000, 1 << 20).await.unwrap();
        if let Some(change) = page.changes.last() {
            after = change.record.change_no;
        }
        all.extend(page.changes);
        if page.last {
            return all;
        }
    }
}

/// A record in the feed, live or deleted.
async fn record_of(store: &Store, id: IntegrationId, object: &str, external_id: &str) -> Option<Record> {
    let mut all = feed(store, id, 0).await.into_iter().map(|change| change.record);
    all.find(|record| record.object == object && record.external_id == external_id)
}

/// The numbers of live records, by object.
async fn counts(store: &Store, id: IntegrationId) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for change in feed(store, id, 0).await {
        if change.record.delete_us.is_none() {
            *counts.entry(change.record.object).or_default() += 1;
        }
    }
    counts.into_iter().collect()
}

/// The CRM revokes an integration's credential; returns the affected integrations.
async fn refuse(store: &Store, id: IntegrationId, cause: &str, now_us: Micros) -> Vec<IntegrationId> {
    let credential = store.integration_get(id).await.unwrap().credential_id.unwrap();
    let generation = store.credential_get(credential).await.unwrap().generation;
    let dead = store
        .credential_revoked(credential, generation, cause, "CANARY", now_us)
        .await
        .unwrap();
    assert!(dead.revoked);
    dead.integrations
}

/// Settles the records that the listing of an object lacks, a few rows at a time.
async fn settle(store: &Store, sync: &Sync, object: &str, guard: RemovalGuard, now_us: Micros) -> Settled {
    let mut all = Settled::default();
    loop {
        let settle = Settle {
            sync_id: sync.id,
            fence: sync.fence,
            object: object.to_owned(),
            guard,
            limit: 700,
            settling: all.more.take(),
            now_us,
        };
        let done = store.sync_settle(settle).await.unwrap();
        all.removed += done.removed;
        (all.held, all.more) = (done.held, done.more);
        if all.more.is_none() {
            return all;
        }
    }
}

/// Runs many futures concurrently, each in a task of its own.
async fn futures<T, F>(count: usize, make: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|i| tokio::spawn(make(i))).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}
