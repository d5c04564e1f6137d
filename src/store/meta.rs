//! What the database says of itself: the versions of lists that identities depend on.

use diesel::prelude::*;

use super::{Error, Store, conn::each, schema::meta};

impl Store {
    /// A value, if it was set.
    pub async fn meta_get(&self, key: &str) -> Result<Option<String>, Error> {
        let key = key.to_owned();
        self.read(move |conn| Ok(meta::table.find(key).select(meta::value).first(conn).optional()?))
            .await
    }

    /// Sets a value.
    pub async fn meta_set(&self, key: &str, value: &str) -> Result<(), Error> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write(move |conn| {
            each!(conn, c => diesel::insert_into(meta::table)
                .values((meta::key.eq(&key), meta::value.eq(&value)))
                .on_conflict(meta::key)
                .do_update()
                .set(meta::value.eq(&value))
                .execute(c))?;
            Ok(())
        })
        .await
    }
}
