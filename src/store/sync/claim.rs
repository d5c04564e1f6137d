//! The claim of a data set: the second step of taking a sync, after the lease in control.

use diesel::prelude::*;

use super::{
    report::News,
    row::{Sync, locked, lost},
    stored::SyncReport,
};
use crate::domain::SyncState;
use crate::store::{
    Error, Lost, Store,
    conn::Conn,
    data_set,
    schema::{integration, sync},
};

/// The result of a claim.
#[derive(Debug)]
enum Claimed {
    /// The sync has stored nothing yet.
    New,
    /// What the sync has stored so far.
    Resumed(Box<SyncReport>),
    /// Nothing was claimed: the data set has a greater fencing token or generation.
    Ahead { fence: i64, generation: i64 },
}

impl Store {
    /// Claims the data set of a sync that was leased, and reports what an earlier worker stored but did not report.
    pub(super) async fn claim(&self, mut sync: Sync) -> Result<Sync, Error> {
        let mut claimed = self.claim_data_set(&sync).await?;
        if let Claimed::Ahead { fence, generation } = claimed {
            sync = self.catch_up(&sync, fence, generation).await?;
            claimed = self.claim_data_set(&sync).await?;
        }
        match claimed {
            Claimed::New => Ok(sync),
            Claimed::Resumed(stored) => self.sync_report((sync.id, sync.fence), *stored, News::All).await,
            Claimed::Ahead { .. } => Err(Error::LeaseLost {
                sync: sync.id,
                why: Lost::Fence,
            }),
        }
    }

    async fn claim_data_set(&self, sync: &Sync) -> Result<Claimed, Error> {
        let leased = sync.clone();
        self.data_write(sync.integration_id, move |conn| claim(conn, &leased))
            .await
    }

    /// Takes over a greater fencing token and generation from a data set, if the worker still has the lease: control was
    /// restored from a backup that is older than the data set.
    async fn catch_up(&self, of: &Sync, fence: i64, generation: i64) -> Result<Sync, Error> {
        let (id, own_fence) = (of.id, of.fence);
        self.write(move |conn| {
            let (of, mut row) = locked(conn, id)?;
            if row.fence != own_fence || row.state != SyncState::Running || of.generation != row.generation {
                return Err(lost(&row, own_fence));
            }
            row.fence = row.fence.max(fence.saturating_add(1));
            row.generation = row.generation.max(generation);
            diesel::update(integration::table.find(of.id))
                .set(integration::generation.eq(row.generation))
                .execute(conn)?;
            diesel::update(sync::table.find(id))
                .set((sync::fence.eq(row.fence), sync::generation.eq(row.generation)))
                .execute(conn)?;
            tracing::warn!(
                integration = %of.id,
                "the data of {} is newer than what control knows of it: control was restored from a backup",
                of.id
            );
            Ok(row)
        })
        .await
    }
}

/// Claims a data set for the worker that leased a sync: from now on commits of earlier workers are refused.
fn claim(conn: &mut Conn, sync: &Sync) -> Result<Claimed, Error> {
    let set = data_set::lock_for(conn, sync.integration_id, sync.generation)?;
    if set.generation == i64::MAX {
        // It is being deleted.
        return Err(Error::LeaseLost {
            sync: sync.id,
            why: Lost::State,
        });
    }
    if set.generation > sync.generation || set.fence > sync.fence {
        return Ok(Claimed::Ahead {
            fence: set.fence,
            generation: set.generation,
        });
    }
    let resumed = set.sync_id == Some(sync.id);
    if !resumed {
        data_set::begin(conn, set.integration_id, Some(sync.id))?;
    }
    data_set::set_fence(conn, set.integration_id, sync.fence)?;
    if !resumed {
        return Ok(Claimed::New);
    }
    let stored = SyncReport::of(conn, &set)?;
    match stored.checkpoint_seq > 0 || !stored.objects.is_empty() {
        true => Ok(Claimed::Resumed(Box::new(stored))),
        false => Ok(Claimed::New),
    }
}
