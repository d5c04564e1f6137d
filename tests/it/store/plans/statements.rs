//! The statements: every method of the store, on an integration of some size.

mod group;
mod login;
mod records;
mod sync;

use super::{World, *};

/// The data before a round: the number of accounts, the same number of contacts below them, and a tenth of it
/// in other tables.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) accounts: usize,
    /// Keys of a batch.
    pub(super) batch: usize,
}

pub(super) fn account(i: usize) -> String {
    format!("001{i:015}")
}

pub(super) fn contact(i: usize) -> String {
    format!("003{i:015}")
}

pub(super) fn company(i: usize) -> CompanyId {
    format!("{i:08x}-0000-5000-8000-{i:012x}").parse().unwrap()
}

pub(super) fn account_row(i: usize, version: i64, read_us: Micros) -> RecordRow {
    RecordRow {
        company_id: Some(company(i)),
        homepage: Some(format!("company{i}.com")),
        read_us,
        ..row(&account(i), (i as i64) * 100 + version, NOW + version)
    }
}

pub(super) fn contact_row(i: usize, version: i64, read_us: Micros) -> RecordRow {
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

/// What the steps of a round use.
#[derive(Clone, Copy)]
struct Round<'a> {
    group_id: &'a GroupId,
    of: &'a Integration,
    size: Size,
    round: usize,
    /// Keys of a batch.
    n: usize,
    /// The first of the round's own rows.
    first: usize,
    version: i64,
    read_us: Micros,
}

impl Round<'_> {
    /// Some companies of the round.
    fn companies(&self) -> Vec<CompanyId> {
        (self.first..self.first + 50).map(company).collect()
    }
}

/// Every method, on an integration of this size. `round` counts from 0: each round uses other rows.
pub(super) async fn round(w: &mut World, group_id: &GroupId, of: &Integration, size: Size, round: usize) {
    // The current row: the previous round may have begun another generation.
    let of = &w.store.integration_get(of.id).await.unwrap();
    let version = 1 + round as i64;
    let r = &Round {
        group_id,
        of,
        size,
        round,
        n: size.batch,
        first: round * 4 * size.batch,
        version,
        read_us: NOW + MINUTE * version,
    };
    let leased = sync::queue(w, r).await;
    sync::commit_rows(w, r, &leased).await;
    sync::plan(w, r, &leased).await;
    sync::lists(w, r, &leased).await;
    sync::end(w, r, &leased).await;
    records::live_read(w, r).await;
    records::feed(w, r).await;
    records::look_ups(w, r).await;
    group::companies(w, r).await;
    group::events(w, r).await;
    group::audit(w, r).await;
    let other = crate::store::group_id("other");
    group::connections(w, r, &other).await;
    group::integrations(w, r).await;
    group::shares(w, r, &other).await;
    login::requests(w, r).await;
    login::outbox(w).await;
    let draft = login::authorization(w, r).await;
    login::credential(w, &draft).await;
    login::purge(w, r, draft.id).await;
    ask!(w, 5, group_delete(&other, NOW));
}
