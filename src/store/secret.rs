//! All sealed secrets, for changing keys: which key each row needs, and the same secret sealed with another
//! key. Each write compares the value that it replaces, so that no concurrent change is lost.

use diesel::prelude::*;

use super::{
    Authorization, Credential, Error, Outbox, Store,
    schema::{authorization, credentials, outbox},
};
use crate::domain::{AuthorizationHash, CredentialId, OutboxId};

impl Store {
    /// Credentials that are sealed with other keys than this one, by id from the one after `after` on.
    pub async fn credential_list_sealed_otherwise(
        &self,
        key_id: &str,
        after: Option<CredentialId>,
        limit: i64,
    ) -> Result<Vec<Credential>, Error> {
        let key_id = key_id.to_owned();
        self.read(move |conn| {
            let mut found = credentials::table
                .filter(credentials::key_id.ne(key_id))
                .order(credentials::id)
                .limit(limit)
                .select(Credential::as_select())
                .into_boxed();
            if let Some(after) = after {
                found = found.filter(credentials::id.gt(after));
            }
            Ok(found.load(conn)?)
        })
        .await
    }

    /// Pending entries that are sealed with other keys than this one, by id from the one after `after` on.
    pub async fn outbox_list_sealed_otherwise(
        &self,
        key_id: &str,
        after: Option<OutboxId>,
        limit: i64,
    ) -> Result<Vec<Outbox>, Error> {
        let key_id = key_id.to_owned();
        self.read(move |conn| {
            let mut found = outbox::table
                .filter(outbox::key_id.ne(key_id).and(outbox::done_us.is_null()))
                .order(outbox::id)
                .limit(limit)
                .select(Outbox::as_select())
                .into_boxed();
            if let Some(after) = after {
                found = found.filter(outbox::id.gt(after));
            }
            Ok(found.load(conn)?)
        })
        .await
    }

    /// Logins not used yet, by hash from the one after `after` on.
    pub async fn authorization_list_unused(
        &self,
        after: Option<AuthorizationHash>,
        limit: i64,
    ) -> Result<Vec<Authorization>, Error> {
        self.read(move |conn| {
            let mut found = authorization::table
                .filter(authorization::used_us.is_null())
                .order(authorization::state_hash)
                .limit(limit)
                .select(Authorization::as_select())
                .into_boxed();
            if let Some(after) = after {
                found = found.filter(authorization::state_hash.gt(after));
            }
            Ok(found.load(conn)?)
        })
        .await
    }

    /// Stores an entry's secret sealed anew. False if it was done or sealed anew in between.
    pub async fn outbox_reseal(&self, old: Outbox, sealed: Vec<u8>, key_id: &str) -> Result<bool, Error> {
        let key_id = key_id.to_owned();
        self.write(move |conn| {
            let same = outbox::table.find(old.id).filter(outbox::sealed.eq(old.sealed));
            let done = diesel::update(same)
                .set((outbox::sealed.eq(sealed), outbox::key_id.eq(key_id)))
                .execute(conn)?;
            Ok(done == 1)
        })
        .await
    }

    /// Stores a login's secrets sealed anew. False if it was used, came back or was sealed anew in between.
    pub async fn authorization_reseal(
        &self,
        old: Authorization,
        sealed: Vec<u8>,
        callback: Option<Vec<u8>>,
        key_id: &str,
    ) -> Result<bool, Error> {
        let key_id = key_id.to_owned();
        self.write(move |conn| {
            let same = authorization::table
                .find(&old.state_hash)
                .filter(authorization::sealed.eq(&old.sealed))
                .filter(authorization::used_us.is_null());
            let set = (
                authorization::sealed.eq(sealed),
                authorization::callback.eq(callback),
                authorization::key_id.eq(key_id),
            );
            let done = match &old.callback {
                Some(before) => diesel::update(same.filter(authorization::callback.eq(before)))
                    .set(set)
                    .execute(conn)?,
                None => diesel::update(same.filter(authorization::callback.is_null()))
                    .set(set)
                    .execute(conn)?,
            };
            Ok(done == 1)
        })
        .await
    }
}
