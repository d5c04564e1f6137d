//! Failed refreshes of credentials: the CRM's message, the number of failures in a row, and the time of the
//! next attempt. They are in the credential's row, so that all replicas observe the same pauses and show the
//! same cause.

use diesel::prelude::*;

use super::{
    Error, Noun, Store,
    conn::{Conn, first_locked},
    schema::{connector_enablement, credentials, integration},
};
use crate::domain::{CredentialId, CredentialState, IntegrationState, Micros};

/// Why the last refreshes of a credential failed. All empty: the last one did not fail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Queryable, Selectable, Insertable)]
#[diesel(table_name = credentials)]
pub struct Refusal {
    /// The connector contract's name of the kind of error, `ERROR_KIND_…`; empty without a refusal.
    #[diesel(column_name = refusal_kind)]
    pub kind: String,
    /// The CRM's own code; empty where it gave none.
    #[diesel(column_name = refusal_code)]
    pub code: String,
    /// The CRM's message, for the owner.
    #[diesel(column_name = refusal_message)]
    pub message: String,
    /// Failures in a row, of whatever kind.
    #[diesel(column_name = refusal_count)]
    pub count: i64,
    /// Since when refreshes fail with this kind and code.
    #[diesel(column_name = refusal_us)]
    pub since_us: Micros,
    /// When the last attempt was made.
    pub try_us: Micros,
    /// No attempt is made before this time.
    pub next_try_us: Micros,
}

impl Refusal {
    /// Whether there is one.
    #[must_use]
    pub fn is_some(&self) -> bool {
        !self.kind.is_empty()
    }
}

/// A failed refresh to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRefusal {
    /// Of which credential.
    pub id: CredentialId,
    /// The generation of the credentials that were used. If it is no longer the credential's, nothing is written.
    pub used_generation: i64,
    /// The connector contract's name of the kind of error.
    pub kind: String,
    /// The CRM's own code.
    pub code: String,
    /// The CRM's message.
    pub message: String,
    /// Now.
    pub now_us: Micros,
}

impl Store {
    /// Writes down that the CRM refused a credential's tokens without ending them. `pause` gives the time until the next
    /// try for the number of failures in a row, in microseconds. Failures older than `forget_us` do not count, and those within
    /// the pause are part of the failure that it follows. Answers
    /// what stands in the row afterwards: another refusal, or none, if the credentials changed in between.
    pub async fn credential_refused(
        &self,
        new: NewRefusal,
        forget_us: Micros,
        pause: impl Fn(i64) -> Micros + Send + 'static,
    ) -> Result<Refusal, Error> {
        self.write(move |conn| {
            let row: Option<(i64, CredentialState, Refusal)> = first_locked!(
                conn,
                credentials::table.find(new.id).select((
                    credentials::generation,
                    credentials::state,
                    Refusal::as_select()
                ))
            )
            .optional()?;
            let Some((generation, state, old)) = row else {
                return Err(Error::not_found(Noun::Credential, new.id));
            };
            if generation != new.used_generation || state != CredentialState::Live {
                return Ok(old);
            }
            let recent = old.is_some() && new.now_us - old.try_us < forget_us;
            let same = recent && old.kind == new.kind && old.code == new.code;
            // Calls that began before the pause, and failed together with the one that caused it.
            let together = recent && new.now_us < old.next_try_us;
            if together && same {
                return Ok(old);
            }
            let count = match (together, recent) {
                (true, _) => old.count,
                (false, true) => old.count + 1,
                (false, false) => 1,
            };
            let refusal = Refusal {
                kind: new.kind,
                code: new.code,
                message: new.message,
                count,
                since_us: if same { old.since_us } else { new.now_us },
                try_us: new.now_us,
                next_try_us: new.now_us + pause(count),
            };
            set(conn, new.id, &refusal)?;
            Ok(refusal)
        })
        .await
    }

    /// The CRM accepted the credentials of this generation: what was refused before is over.
    pub async fn credential_accepted(&self, id: CredentialId, used_generation: i64) -> Result<(), Error> {
        self.write(move |conn| {
            let current: Option<i64> =
                first_locked!(conn, credentials::table.find(id).select(credentials::generation))
                    .optional()?;
            if current == Some(used_generation) {
                set(conn, id, &Refusal::default())?;
            }
            Ok(())
        })
        .await
    }

    /// Lets a refused credential be tried at once, but not within `gap_us` of the last try: a person says that the cause is
    /// put right.
    pub async fn credential_try_soon(
        &self,
        id: CredentialId,
        now_us: Micros,
        gap_us: Micros,
    ) -> Result<(), Error> {
        self.write(move |conn| {
            let soon = credentials::table.find(id).filter(
                credentials::next_try_us
                    .gt(now_us)
                    .and(credentials::try_us.le(now_us - gap_us)),
            );
            diesel::update(soon)
                .set(credentials::next_try_us.eq(now_us))
                .execute(conn)?;
            Ok(())
        })
        .await
    }

    /// Refused credentials whose next try is due and that a saved integration uses whose owner has the connector enabled, with
    /// the generation of each. `kind` is left out: a refresh cannot find out whether it is over.
    pub async fn credential_list_due(
        &self,
        now_us: Micros,
        except_kind: &str,
        limit: i64,
    ) -> Result<Vec<(CredentialId, i64)>, Error> {
        let except_kind = except_kind.to_owned();
        self.read(move |conn| {
            let users = integration::table
                .inner_join(
                    connector_enablement::table.on(connector_enablement::group_id
                        .eq(integration::group_id)
                        .and(connector_enablement::connector.eq(integration::connector))
                        .and(connector_enablement::enabled.eq(true))),
                )
                .filter(integration::credential_id.eq(credentials::id.nullable()))
                .filter(integration::state.eq(IntegrationState::Active));
            // Spelt out, not bound: as the condition of the partial index is.
            let is_refused = diesel::dsl::sql::<diesel::sql_types::Bool>("credentials.refusal_kind <> ''");
            Ok(credentials::table
                .filter(is_refused)
                .filter(credentials::refusal_kind.ne(except_kind))
                .filter(credentials::next_try_us.le(now_us))
                .filter(credentials::state.eq(CredentialState::Live))
                .filter(diesel::dsl::exists(users))
                .order((credentials::next_try_us, credentials::id))
                .limit(limit)
                .select((credentials::id, credentials::generation))
                .load(conn)?)
        })
        .await
    }

    /// Credentials of active integrations that were neither logged in nor refreshed since this time, and are not refused:
    /// id and generation.
    pub async fn credential_list_idle(
        &self,
        before_us: Micros,
        limit: i64,
    ) -> Result<Vec<(CredentialId, i64)>, Error> {
        self.read(move |conn| {
            let users = integration::table
                .filter(integration::credential_id.eq(credentials::id.nullable()))
                .filter(integration::state.eq(IntegrationState::Active));
            Ok(credentials::table
                .filter(credentials::refreshable.eq(true))
                .filter(credentials::refusal_kind.eq(""))
                .filter(credentials::state.eq(CredentialState::Live))
                .filter(credentials::log_in_us.lt(before_us))
                .filter(
                    credentials::refresh_us
                        .is_null()
                        .or(credentials::refresh_us.lt(before_us)),
                )
                .filter(diesel::dsl::exists(users))
                .order((credentials::log_in_us, credentials::id))
                .limit(limit)
                .select((credentials::id, credentials::generation))
                .load(conn)?)
        })
        .await
    }
}

/// Writes a refusal, or with an empty one that there is none.
pub(super) fn set(conn: &mut Conn, id: CredentialId, refusal: &Refusal) -> Result<(), Error> {
    diesel::update(credentials::table.find(id))
        .set((
            credentials::refusal_kind.eq(&refusal.kind),
            credentials::refusal_code.eq(&refusal.code),
            credentials::refusal_message.eq(&refusal.message),
            credentials::refusal_count.eq(refusal.count),
            credentials::refusal_us.eq(refusal.since_us),
            credentials::try_us.eq(refusal.try_us),
            credentials::next_try_us.eq(refusal.next_try_us),
        ))
        .execute(conn)?;
    Ok(())
}
