//! Companies as a group sees them: those of its sources and those it tracks, each once and under one name.
//!
//! A list by name reads each source in the order (name, id) from `company_name`, merges the sources, and shows each
//! company once, under its name in the oldest source that has it. So a page costs its length times the number
//! of sources. Where the platform knows companies, their names come first: such lists are answered by the index.
//!
//! Tracking locks the group's row: two callers that track the same companies in different orders would
//! otherwise wait for each other, and a deleted group must not track anything.

use diesel::prelude::*;

use super::{Error, Store, platform::PlatformCompany, schema::tracked_company};
use crate::domain::{CompanyId, GroupId, IntegrationId, Micros, name_key};

mod count;
mod list;
mod track;
mod view;

pub use track::Track;

/// A company as a group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// Its id.
    pub company_id: CompanyId,
    /// The platform's name; else its name in the first source that holds it (several records there: the first by name and
    /// id), the group's own row last.
    pub name: String,
    /// What it is sorted by.
    pub name_key: String,
    /// The texts that may be the homepage, one a line, of the record that gives the name.
    pub homepage: Option<String>,
    /// The sources that hold it, in the order that was asked with.
    pub sources: Vec<IntegrationId>,
    /// Whether the group tracks it.
    pub tracked: bool,
    /// The platform's id of it; empty if the platform has not named it.
    pub platform_id: String,
}

/// Where a page of companies ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompanyKey {
    /// The last one's sort key.
    pub name_key: String,
    /// The last one's id.
    pub company_id: CompanyId,
}

impl Company {
    /// Takes the name and the homepage of the platform.
    fn named_by(&mut self, platform: PlatformCompany) {
        self.name_key = name_key(&platform.name);
        self.name = platform.name;
        self.homepage = Some(platform.homepage).filter(|homepage| !homepage.is_empty());
        self.platform_id = platform.platform_id;
    }

    /// Where a page that ends with this company ended.
    pub fn key(&self) -> CompanyKey {
        CompanyKey {
            name_key: self.name_key.clone(),
            company_id: self.company_id,
        }
    }
}

#[derive(Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = tracked_company, treat_none_as_default_value = false)]
struct Tracked {
    group_id: GroupId,
    company_id: CompanyId,
    name: String,
    name_key: String,
    homepage: String,
    create_us: Micros,
    create_by: String,
}

impl Store {
    /// The group's own list, all of it.
    pub async fn company_tracked(&self, group_id: &GroupId) -> Result<Vec<(Track, String)>, Error> {
        let group_id = group_id.clone();
        self.read(move |conn| {
            let rows: Vec<Tracked> = tracked_company::table
                .filter(tracked_company::group_id.eq(&group_id))
                .select(Tracked::as_select())
                .load(conn)?;
            let of = |row: Tracked| {
                let track = Track {
                    company_id: row.company_id,
                    name: row.name,
                    homepage: row.homepage,
                };
                (track, row.name_key)
            };
            Ok(rows.into_iter().map(of).collect())
        })
        .await
    }

    /// How many companies a group tracks.
    pub async fn company_count_tracked(&self, group_id: &GroupId) -> Result<i64, Error> {
        let group_id = group_id.clone();
        self.read(move |conn| {
            Ok(tracked_company::table
                .filter(tracked_company::group_id.eq(&group_id))
                .count()
                .get_result(conn)?)
        })
        .await
    }
}
