//! Facts about the database: the version of the identity rules, and the progress of a move to other rules (`identity`).

use diesel::prelude::*;

use super::{Error, Store, schema::meta};

impl Store {
    /// A value, if it was set.
    pub(super) async fn meta_get(&self, key: &str) -> Result<Option<String>, Error> {
        let key = key.to_owned();
        self.read(move |conn| Ok(meta::table.find(key).select(meta::value).first(conn).optional()?))
            .await
    }
}
