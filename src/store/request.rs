//! Request ids: the same request twice has one result.

use diesel::prelude::*;

use super::{Error, Store, conn::each, purge, schema::request};
use crate::domain::{GroupId, Micros};

/// What came of a request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// It was new and now stands for this result.
    New,
    /// It was used before, for the same request, with this result.
    Before(String),
}

/// Whether a stored fingerprint is that of this request. One of an earlier form cannot be compared and passes: its row
/// goes within a day.
fn is_same(known: &str, fingerprint: &str) -> bool {
    let form = |text: &str| text.split_once(':').map(|(form, _)| form == "blake3");
    known == fingerprint || (form(fingerprint) == Some(true) && form(known) != Some(true))
}

impl Store {
    /// Remembers what a request led to, or says what it led to before. Another request under the same id is
    /// [`Error::RequestReused`].
    pub async fn request_remember(
        &self,
        group_id: &GroupId,
        method: &str,
        request_id: &str,
        fingerprint: &str,
        result: &str,
        now_us: Micros,
    ) -> Result<Remembered, Error> {
        let (group_id, method, request_id) = (group_id.clone(), method.to_owned(), request_id.to_owned());
        let (fingerprint, result) = (fingerprint.to_owned(), result.to_owned());
        self.write(move |conn| {
            let row = (
                request::group_id.eq(&group_id),
                request::method.eq(&method),
                request::request_id.eq(&request_id),
                request::fingerprint.eq(&fingerprint),
                request::result.eq(&result),
                request::create_us.eq(now_us),
            );
            let added = each!(conn, c => diesel::insert_into(request::table)
                .values(row)
                .on_conflict_do_nothing()
                .execute(c))?;
            if added == 1 {
                return Ok(Remembered::New);
            }
            let (known, result): (String, String) = request::table
                .find((&group_id, &method, &request_id))
                .select((request::fingerprint, request::result))
                .first(conn)?;
            if is_same(&known, &fingerprint) {
                Ok(Remembered::Before(result))
            } else {
                Err(Error::RequestReused(request_id))
            }
        })
        .await
    }

    /// What a request id led to, if it was used; another request under it is [`Error::RequestReused`].
    pub async fn request_get(
        &self,
        group_id: &GroupId,
        method: &str,
        request_id: &str,
        fingerprint: &str,
    ) -> Result<Option<String>, Error> {
        let key = (group_id.clone(), method.to_owned(), request_id.to_owned());
        let fingerprint = fingerprint.to_owned();
        self.read(move |conn| {
            let known: Option<(String, String)> = request::table
                .find((&key.0, &key.1, &key.2))
                .select((request::fingerprint, request::result))
                .first(conn)
                .optional()?;
            match known {
                Some((known, result)) if is_same(&known, &fingerprint) => Ok(Some(result)),
                Some(_) => Err(Error::RequestReused(key.2)),
                None => Ok(None),
            }
        })
        .await
    }

    /// Forgets request ids used before this time, at most `limit`; returns how many.
    pub async fn request_purge(&self, before_us: Micros, limit: i64) -> Result<usize, Error> {
        self.write(move |conn| purge::old(conn, "request", "create_us", "true", before_us, limit))
            .await
    }
}
