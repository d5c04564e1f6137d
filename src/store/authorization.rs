//! Browser logins in progress. Any replica can handle the callback; each login is used once.

use diesel::prelude::*;

use super::{Error, Noun, Store, Tx, error::OrNotFound, integration, purge, schema::authorization};
use crate::domain::{AuthorizationHash, GroupId, IntegrationId, Landing, Micros};

/// A login that begins.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAuthorization {
    /// The hash of its state.
    pub state_hash: AuthorizationHash,
    /// For which integration.
    pub integration_id: IntegrationId,
    /// On behalf of which group.
    pub group_id: GroupId,
    /// By whom.
    pub create_by: String,
    /// The PKCE verifier.
    pub sealed: Vec<u8>,
    /// The key it is sealed with.
    pub key_id: String,
    /// Where the browser comes back to.
    pub redirect_uri: String,
    /// To whom that address belongs.
    pub landing: Landing,
    /// When it begins.
    pub create_us: Micros,
    /// When it ends unused.
    pub expire_us: Micros,
}

/// A login under way.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = authorization, treat_none_as_default_value = false)]
pub struct Authorization {
    /// The hash of its state.
    pub state_hash: AuthorizationHash,
    /// For which integration.
    pub integration_id: IntegrationId,
    /// On behalf of which group.
    pub group_id: GroupId,
    /// By whom.
    pub create_by: String,
    /// The PKCE verifier.
    pub sealed: Vec<u8>,
    /// The key the sealed parts are sealed with.
    pub key_id: String,
    /// Where the browser comes back to.
    pub redirect_uri: String,
    /// To whom that address belongs.
    pub landing: Landing,
    /// What the browser brought, sealed, until someone confirms it.
    pub callback: Option<Vec<u8>>,
    /// When it began.
    pub create_us: Micros,
    /// When it ends unused.
    pub expire_us: Micros,
    /// When it was used.
    pub used_us: Option<Micros>,
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorization")
            .field("integration_id", &self.integration_id)
            .finish_non_exhaustive()
    }
}

/// Most logins under way for one integration; the oldest end.
const MOST_UNDER_WAY: i64 = 5;

impl Tx<'_> {
    /// Begins a login. Those under way for the same integration go on, at most five with this one: a retry, or a second
    /// tab, does not spoil the first. They end when one of them has succeeded.
    pub fn authorization_create(&mut self, new: NewAuthorization) -> Result<(), Error> {
        let conn = &mut *self.conn;
        // Whoever removes the integration removes its logins too, and holds this lock.
        integration::lock(conn, new.integration_id)?;
        let row = Authorization {
            state_hash: new.state_hash,
            integration_id: new.integration_id,
            group_id: new.group_id,
            create_by: new.create_by,
            sealed: new.sealed,
            key_id: new.key_id,
            redirect_uri: new.redirect_uri,
            landing: new.landing,
            callback: None,
            create_us: new.create_us,
            expire_us: new.expire_us,
            used_us: None,
        };
        let others: Vec<AuthorizationHash> = authorization::table
            .filter(authorization::integration_id.eq(row.integration_id))
            .filter(authorization::used_us.is_null())
            .order((authorization::create_us.desc(), authorization::state_hash))
            .offset(MOST_UNDER_WAY - 1)
            .limit(1_000)
            .select(authorization::state_hash)
            .load(conn)?;
        diesel::delete(authorization::table.filter(authorization::state_hash.eq_any(others)))
            .execute(conn)?;
        diesel::insert_into(authorization::table)
            .values(&row)
            .execute(conn)?;
        Ok(())
    }
}

impl Store {
    /// A login that is neither used nor expired, to show what it is about.
    pub async fn authorization_get(
        &self,
        hash: &AuthorizationHash,
        now_us: Micros,
    ) -> Result<Authorization, Error> {
        let hash = hash.clone();
        self.read(move |conn| open_authorization(conn, &hash, now_us))
            .await
    }

    /// Uses a login: only the first call for it succeeds.
    pub async fn authorization_use(
        &self,
        hash: &AuthorizationHash,
        now_us: Micros,
    ) -> Result<Authorization, Error> {
        let hash = hash.clone();
        self.write(move |conn| {
            let open = authorization::table.find(&hash).filter(
                authorization::used_us
                    .is_null()
                    .and(authorization::expire_us.gt(now_us)),
            );
            if diesel::update(open)
                .set(authorization::used_us.eq(now_us))
                .execute(conn)?
                == 0
            {
                return Err(Error::not_found(Noun::Login, "(state)"));
            }
            let row: Authorization = authorization::table
                .find(&hash)
                .select(Authorization::as_select())
                .first(conn)?;
            // What was secret is in the caller's hands now.
            diesel::update(authorization::table.find(&hash))
                .set((
                    authorization::sealed.eq(Vec::<u8>::new()),
                    authorization::callback.eq(None::<Vec<u8>>),
                ))
                .execute(conn)?;
            Ok(row)
        })
        .await
    }

    /// Keeps what the browser brought until someone confirms it. It is kept once.
    pub async fn authorization_callback(
        &self,
        hash: &AuthorizationHash,
        sealed: Vec<u8>,
        now_us: Micros,
    ) -> Result<Authorization, Error> {
        let hash = hash.clone();
        self.write(move |conn| {
            let open = authorization::table.find(&hash).filter(
                authorization::used_us
                    .is_null()
                    .and(authorization::callback.is_null())
                    .and(authorization::expire_us.gt(now_us)),
            );
            if diesel::update(open)
                .set(authorization::callback.eq(sealed))
                .execute(conn)?
                == 0
            {
                return Err(Error::not_found(Noun::Login, "(state)"));
            }
            open_authorization(conn, &hash, now_us)
        })
        .await
    }

    /// Forgets logins that expired before this time, at most `limit`; returns how many.
    pub async fn authorization_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| purge::old(conn, "\"authorization\"", "expire_us", "true", before_us, limit))
            .await
    }
}

/// The integration has been logged in: other logins that were begun for it are of no use any more.
pub(super) fn end_others(conn: &mut super::conn::Conn, id: IntegrationId) -> Result<(), Error> {
    let unused = authorization::table.filter(
        authorization::integration_id
            .eq(id)
            .and(authorization::used_us.is_null()),
    );
    diesel::delete(unused).execute(conn)?;
    Ok(())
}

fn open_authorization(
    conn: &mut super::conn::Conn,
    hash: &AuthorizationHash,
    now_us: Micros,
) -> Result<Authorization, Error> {
    authorization::table
        .find(hash)
        .filter(
            authorization::used_us
                .is_null()
                .and(authorization::expire_us.gt(now_us)),
        )
        .select(Authorization::as_select())
        .first(conn)
        .or_not_found(Noun::Login, "(state)")
}
