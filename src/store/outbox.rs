//! The outbox: revocations that have to be sent to a CRM, kept until they succeed.

use diesel::prelude::*;

use super::{Error, Store, Tx, conn::Conn, purge, schema::outbox};
use crate::domain::{Micros, OutboxId, OutboxKind};

/// A revocation to be sent to a CRM.
#[derive(Clone, PartialEq, Eq)]
pub struct NewOutbox {
    /// What.
    pub kind: OutboxKind,
    /// Whom it is about, for logs and as context of the seal: the credential's id.
    pub subject: String,
    /// Whatever else is needed and no secret, as JSON.
    pub detail: String,
    /// The secret part.
    pub sealed: Vec<u8>,
    /// The key it is sealed with.
    pub key_id: String,
}

/// A stored revocation.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = outbox, treat_none_as_default_value = false)]
pub struct Outbox {
    /// Its id.
    pub id: OutboxId,
    /// What.
    pub kind: OutboxKind,
    /// Whom it is about.
    pub subject: String,
    /// Whatever else is needed, as JSON.
    pub detail: String,
    /// The secret part.
    pub sealed: Vec<u8>,
    /// The key it is sealed with.
    pub key_id: String,
    /// How often it was tried.
    pub attempt: i64,
    /// When it may be tried: the end of a lease, too.
    pub due_us: Micros,
    /// Who tries it.
    pub lease_owner: Option<String>,
    /// When it was over: the CRM confirmed it, or it cannot be done.
    pub done_us: Option<Micros>,
    /// Why the last attempt failed.
    pub last_error: String,
    /// When it came up.
    pub create_us: Micros,
}

/// How far a revocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It is still to be done.
    Pending,
    /// The CRM has ended the access.
    Done,
    /// The CRM, or its connector, cannot end it: it may be valid.
    Impossible,
}

impl Revocation {
    /// As it is stored in [`Outbox::detail`] of an entry that is over.
    fn detail(self) -> &'static str {
        match self {
            Self::Impossible => r#"{"outcome":"IMPOSSIBLE"}"#,
            Self::Pending | Self::Done => "{}",
        }
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Tx<'_> {
    /// Adds an entry, due at once.
    pub fn outbox_add(&mut self, new: NewOutbox, now_us: Micros) -> Result<OutboxId, Error> {
        add(self.conn, new, now_us)
    }
}

impl Store {
    /// Adds an entry, due at once.
    pub async fn outbox_add(&self, new: NewOutbox, now_us: Micros) -> Result<OutboxId, Error> {
        self.write(move |conn| add(conn, new, now_us)).await
    }

    /// Takes the entry that has been due the longest, until the given time.
    pub async fn outbox_lease_due(
        &self,
        owner: &str,
        now_us: Micros,
        until_us: Micros,
    ) -> Result<Option<Outbox>, Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            let due = outbox::table
                .filter(outbox::done_us.is_null().and(outbox::due_us.le(now_us)))
                .order((outbox::due_us, outbox::id));
            let found: Option<Outbox> = match conn {
                Conn::Sqlite(c) => due.select(Outbox::as_select()).first(c),
                Conn::Postgres(c) => due
                    .select(Outbox::as_select())
                    .for_update()
                    .skip_locked()
                    .first(c),
            }
            .optional()?;
            let Some(mut row) = found else { return Ok(None) };
            row.attempt += 1;
            row.due_us = until_us;
            row.lease_owner = Some(owner);
            diesel::update(outbox::table.find(row.id))
                .set((
                    outbox::attempt.eq(row.attempt),
                    outbox::due_us.eq(row.due_us),
                    outbox::lease_owner.eq(&row.lease_owner),
                ))
                .execute(conn)?;
            Ok(Some(row))
        })
        .await
    }

    /// It is over, with this outcome. The secret is deleted at once, the row later. False if the lease is another's by
    /// now.
    pub async fn outbox_done(
        &self,
        id: OutboxId,
        owner: &str,
        outcome: Revocation,
        now_us: Micros,
    ) -> Result<bool, Error> {
        let owner = owner.to_owned();
        self.write(move |conn| {
            let mine = outbox::table
                .find(id)
                .filter(outbox::lease_owner.eq(owner).and(outbox::done_us.is_null()));
            let done = diesel::update(mine)
                .set((
                    outbox::done_us.eq(now_us),
                    outbox::sealed.eq(Vec::<u8>::new()),
                    outbox::detail.eq(outcome.detail()),
                    outbox::lease_owner.eq(None::<String>),
                ))
                .execute(conn)?;
            Ok(done == 1)
        })
        .await
    }

    /// The attempt failed; it is due again later. False if the lease is another's by now.
    pub async fn outbox_retry(
        &self,
        id: OutboxId,
        owner: &str,
        due_us: Micros,
        error: &str,
    ) -> Result<bool, Error> {
        let (owner, error) = (owner.to_owned(), error.to_owned());
        self.write(move |conn| {
            let mine = outbox::table
                .find(id)
                .filter(outbox::lease_owner.eq(owner).and(outbox::done_us.is_null()));
            let done = diesel::update(mine)
                .set((
                    outbox::due_us.eq(due_us),
                    outbox::last_error.eq(error),
                    outbox::lease_owner.eq(None::<String>),
                ))
                .execute(conn)?;
            Ok(done == 1)
        })
        .await
    }

    /// How far a revocation is. One that is not stored any more is done.
    pub async fn outbox_outcome(&self, id: OutboxId) -> Result<Revocation, Error> {
        self.read(move |conn| {
            let found: Option<(Option<Micros>, String)> = outbox::table
                .find(id)
                .select((outbox::done_us, outbox::detail))
                .first(conn)
                .optional()?;
            Ok(match found {
                Some((None, _)) => Revocation::Pending,
                Some((Some(_), detail)) if detail == Revocation::Impossible.detail() => {
                    Revocation::Impossible
                }
                _ => Revocation::Done,
            })
        })
        .await
    }

    /// Forgets entries done before this time, at most `limit`; returns how many.
    pub async fn outbox_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| purge::old(conn, "outbox", "done_us", "true", before_us, limit))
            .await
    }
}

/// Adds an entry within another transaction.
pub(super) fn add(conn: &mut Conn, new: NewOutbox, now_us: Micros) -> Result<OutboxId, Error> {
    let row = Outbox {
        id: OutboxId::new(),
        kind: new.kind,
        subject: new.subject,
        detail: new.detail,
        sealed: new.sealed,
        key_id: new.key_id,
        attempt: 0,
        due_us: now_us,
        lease_owner: None,
        done_us: None,
        last_error: String::new(),
        create_us: now_us,
    };
    diesel::insert_into(outbox::table).values(&row).execute(conn)?;
    Ok(row.id)
}
