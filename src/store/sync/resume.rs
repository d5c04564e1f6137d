//! Syncs that wait for the CRM of their organization, and go on when it answers again.
//!
//! An answer after failures or a refusal is noted in the organization's row (`resume_us`), in the transaction that records it. Every
//! replica looks for such notes often, makes the waiting syncs due and deletes the note: so a crash in between loses
//! nothing, and no transaction locks syncs after an organization. A sync that begins to wait afterwards has seen the new state.

use diesel::{prelude::*, sql_types};

use crate::domain::Micros;
use crate::store::{Error, OrganizationKey, Store, conn::Conn, schema::organization};

/// The reasons of waits that may be over before their time. A sync of an integration that has used its own budget begins to
/// wait again, without a call.
const WAITS: &str = "'CRM_UNAVAILABLE', 'CRM_ALLOWANCE_EXHAUSTED', 'API_BUDGET_USED'";
/// The organizations of one call.
const AT_ONCE: i64 = 100;

impl Store {
    /// Makes the syncs due that wait for organizations whose CRM answers again; returns how many.
    pub async fn sync_resume(&self, now_us: Micros) -> Result<usize, Error> {
        let owed: Vec<(String, String, Micros)> = self
            .read(|conn| {
                // Spelt out, as the condition of the partial index is.
                let is_owed = diesel::dsl::sql::<sql_types::Bool>("organization.resume_us > 0");
                Ok(organization::table
                    .filter(is_owed)
                    .limit(AT_ONCE)
                    .select((
                        organization::connector,
                        organization::organization_id,
                        organization::resume_us,
                    ))
                    .load(conn)?)
            })
            .await?;
        let mut resumed = 0;
        for (connector, id, resume_us) in owed {
            let key = OrganizationKey { connector, id };
            resumed += self
                .write(move |conn| resume(conn, &key, resume_us, now_us))
                .await?;
        }
        Ok(resumed)
    }
}

/// Makes the waiting syncs of an organization due, and deletes the note unless there is a newer one. Syncs that another
/// transaction has locked are ended or taken by it.
fn resume(conn: &mut Conn, key: &OrganizationKey, resume_us: Micros, now_us: Micros) -> Result<usize, Error> {
    let skip = match conn {
        Conn::Sqlite(_) => "",
        Conn::Postgres(_) => " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
    };
    let sql = format!(
        "UPDATE sync SET due_us = $1 WHERE id IN (SELECT id FROM sync WHERE state = 'WAITING' AND organization = (SELECT $2) \
         AND due_us > (SELECT $3) AND error_reason IN ({WAITS}){skip})"
    );
    let resumed = diesel::sql_query(sql)
        .bind::<sql_types::BigInt, _>(now_us)
        .bind::<sql_types::Text, _>(key.to_string())
        .bind::<sql_types::BigInt, _>(now_us)
        .execute(conn)?;
    let note = organization::table
        .find((&key.connector, &key.id))
        .filter(organization::resume_us.eq(resume_us));
    diesel::update(note)
        .set(organization::resume_us.eq(0))
        .execute(conn)?;
    Ok(resumed)
}
