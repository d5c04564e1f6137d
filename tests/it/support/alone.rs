//! The changes that the services compose, each as a transaction of its own.
#![allow(dead_code, reason = "each program uses a part")]

use std::convert::Infallible;

use tether::domain::{CompanyId, GroupId, IntegrationId, Micros};
use tether::store::{
    Activate, AttachCredential, Attached, AuditEntry, CredentialPut, Deleted, DeletedGroup, Enablement,
    Enqueued, Error, FieldRef, Group, Integration, IntegrationUpdate, NewAuthorization, NewCredential,
    NewIntegration, NewShare, NewSync, PlatformCompany, Request, Rollback, Store, Sync, Track, Tx,
};

async fn alone<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = store.transaction(move |tx| work(tx).map_err(Rollback::<Infallible>::Store));
    done.await.map_err(Error::from)
}

/// A function of [`Tx`] as one of [`Store`]: the same name, owned arguments.
macro_rules! alone {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $result:ty = |$tx:ident| $call:expr;)*) => {
        pub(crate) trait Alone {
            async fn group_delete(&self, id: &GroupId, now: Micros) -> Result<DeletedGroup, Error>;
            $(async fn $name(&self $(, $arg: $kind)*) -> Result<$result, Error>;)*
        }
        impl Alone for Store {
            async fn group_delete(&self, id: &GroupId, now: Micros) -> Result<DeletedGroup, Error> {
                let id = id.clone();
                let work = move |tx: &mut Tx<'_>| Ok(tx.group_delete(&id, now)?);
                let done = self.transaction_anew::<_, Infallible, _>(work);
                done.await.map_err(Error::from)
            }
            $(async fn $name(&self $(, $arg: $kind)*) -> Result<$result, Error> {
                $(let $arg = $arg.to_owned();)*
                alone(self, move |$tx| $call).await
            })*
        }
    };
}

alone! {
    audit_append(entries: Vec<AuditEntry>) -> () = |tx| tx.audit_append(&entries);
    authorization_create(new: NewAuthorization) -> () = |tx| tx.authorization_create(new);
    company_track(group: &GroupId, companies: Vec<Track>, by: &str, now: Micros) -> () = |tx| tx.company_track(&group, companies, &by, now);
    company_untrack(group: &GroupId, ids: Vec<CompanyId>) -> usize = |tx| tx.company_untrack(&group, &ids);
    enablement_set(row: Enablement) -> () = |tx| tx.enablement_set(&row);
    field_activate(id: IntegrationId, group: &GroupId, active: Vec<FieldRef>, passive: Vec<FieldRef>) -> () = |tx| tx.field_activate(id, &group, &active, &passive);
    field_count(id: IntegrationId) -> i64 = |tx| tx.field_count(id);
    credential_put(new: NewCredential, now: Micros) -> CredentialPut = |tx| tx.credential_put(new, None, now);
    group_connect(one: &GroupId, other: &GroupId, now: Micros) -> bool = |tx| tx.group_connect(&one, &other, now);
    group_disconnect(one: &GroupId, other: &GroupId, now: Micros) -> usize = |tx| tx.group_disconnect(&one, &other, now);
    group_upsert(id: &GroupId, name: &str, now: Micros) -> Group = |tx| tx.group_upsert(&id, &name, now);
    integration_activate(activate: Activate) -> (Integration, Sync) = |tx| tx.integration_activate(activate);
    integration_attach_credential(attach: AttachCredential) -> Attached = |tx| tx.integration_attach_credential(&attach);
    integration_create(new: NewIntegration) -> Integration = |tx| tx.integration_create(new);
    integration_delete(id: IntegrationId, revision: Option<i64>, now: Micros) -> Deleted = |tx| tx.integration_delete(id, revision, now);
    integration_lock(id: IntegrationId) -> Integration = |tx| tx.integration_lock(id);
    integration_update(update: IntegrationUpdate) -> Integration = |tx| tx.integration_update(update);
    platform_upsert(companies: Vec<PlatformCompany>, now: Micros) -> usize = |tx| tx.platform_upsert(&companies, now);
    request_begin(of: &Request, now: Micros) -> Option<String> = |tx| tx.request_begin(&of, now);
    request_end(of: &Request, result: &str) -> () = |tx| tx.request_end(&of, &result);
    share_remove(id: IntegrationId, group: &GroupId, now: Micros) -> bool = |tx| tx.share_remove(id, &group, now);
    share_set(id: IntegrationId, new: NewShare, by: &str, now: Micros) -> () = |tx| tx.share_set(id, &new, &by, now);
    source_connect(group: &GroupId, id: IntegrationId, connected: bool) -> bool = |tx| tx.source_connect(&group, id, connected);
    sync_enqueue(new: NewSync) -> Enqueued = |tx| tx.sync_enqueue(new);
}
