//! Request ids: a repeated request has the result of the first.

use diesel::prelude::*;

use super::{Error, Store, Tx, conn::each, purge, schema::request};
use crate::domain::{GroupId, Micros};

/// A request by its caller's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The group it changes something of.
    pub group_id: GroupId,
    /// The rpc, without its package and service.
    pub method: String,
    /// The caller's id.
    pub id: String,
    /// A hash of the rpc's name and the whole message: the same id with anything else is refused.
    pub fingerprint: String,
}

/// Whether a stored fingerprint is that of this request. One of an earlier form cannot be compared and passes: its row
/// goes within a day.
fn is_same(known: &str, fingerprint: &str) -> bool {
    let form = |text: &str| text.split_once(':').map(|(form, _)| form == "blake3");
    known == fingerprint || (form(fingerprint) == Some(true) && form(known) != Some(true))
}

impl Tx<'_> {
    /// Claims a request id for this transaction; returns the result of an earlier request with it. Of two concurrent
    /// transactions the second waits until the first has ended.
    ///
    /// # Errors
    /// [`Error::RequestReused`] if the id was used for another request.
    pub fn request_begin(&mut self, of: &Request, now_us: Micros) -> Result<Option<String>, Error> {
        let row = (
            request::group_id.eq(&of.group_id),
            request::method.eq(&of.method),
            request::request_id.eq(&of.id),
            request::fingerprint.eq(&of.fingerprint),
            request::result.eq(""),
            request::create_us.eq(now_us),
        );
        let added = each!(self.conn, c => diesel::insert_into(request::table)
            .values(row)
            .on_conflict_do_nothing()
            .execute(c))?;
        if added == 1 {
            return Ok(None);
        }
        let (known, result): (String, String) = request::table
            .find((&of.group_id, &of.method, &of.id))
            .select((request::fingerprint, request::result))
            .first(self.conn)?;
        match is_same(&known, &of.fingerprint) {
            true => Ok(Some(result)),
            false => Err(Error::RequestReused(of.id.clone())),
        }
    }

    /// Stores the result of a request whose id this transaction claimed.
    pub fn request_end(&mut self, of: &Request, result: &str) -> Result<(), Error> {
        diesel::update(request::table.find((&of.group_id, &of.method, &of.id)))
            .set(request::result.eq(result))
            .execute(self.conn)?;
        Ok(())
    }
}

impl Store {
    /// What a request id led to, if it was used; another request under it is [`Error::RequestReused`].
    pub async fn request_get(&self, of: &Request) -> Result<Option<String>, Error> {
        let of = of.clone();
        self.read(move |conn| {
            let known: Option<(String, String)> = request::table
                .find((&of.group_id, &of.method, &of.id))
                .select((request::fingerprint, request::result))
                .first(conn)
                .optional()?;
            match known {
                Some((known, result)) if is_same(&known, &of.fingerprint) => Ok(Some(result)),
                Some(_) => Err(Error::RequestReused(of.id)),
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
