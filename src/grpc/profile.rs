//! A company's profile, page by page: as many cards and tables as fit into an answer, and the position at
//! which the next page begins.
//!
//! Long texts need no RPC of their own: a profile has pages and `text_offset`, and nearly every profile is
//! one page.

use super::convert;
use super::page::{MOST_ANSWER_BYTES, field_bytes};
use super::page_token::{self, Pages};
use crate::caller::Caller;
use crate::domain::{CompanyId, GroupId, IntegrationId};
use crate::error::Error;
use crate::fair;
use crate::proto::internal::v1::keyset_value::Kind;
use crate::proto::v1;
use crate::service::{Card, Profile, RefreshPolicy, RelatedRecord, Services, Table};
use crate::value::Shown;
use prost::Message as _;
use std::time::Duration;

/// Bytes reserved for the token and the lengths of nested messages.
const RESERVED: usize = 64 << 10;
/// The maximum bytes of rows that are read at a time.
const BYTES_AT_A_TIME: usize = 1 << 20;
/// If a single record does not fit into an answer, its texts are cut to the first of these lengths (in
/// characters) with which it does.
const SHORTER: [usize; 6] = [32_768, 8_192, 2_048, 512, 128, 32];

/// The arguments of a profile.
pub struct Ask {
    pub id: CompanyId,
    pub parent: GroupId,
    pub refresh: (RefreshPolicy, Duration),
    pub only: Vec<IntegrationId>,
    pub related: usize,
    pub text_from: usize,
    /// The page token.
    pub token: String,
}

/// The position at which a page begins: a card, a table of it, or a record in the table after which it
/// continues.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    integration: IntegrationId,
    object: Option<String>,
    /// The last record of the previous page: its time of change, id and number.
    after: Option<(i64, String, usize)>,
}

impl Place {
    fn kinds(self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Text(self.integration.to_string())];
        kinds.extend(self.object.map(Kind::Text));
        if let Some((modified_us, id, number)) = self.after {
            kinds.extend([
                Kind::Integer(modified_us),
                Kind::Text(id),
                Kind::Integer(i64::try_from(number).unwrap_or(i64::MAX)),
            ]);
        }
        kinds
    }

    fn of(kinds: &[Kind]) -> Option<Self> {
        let (object, after) = match kinds.get(1..)? {
            [] => (None, None),
            [Kind::Text(object)] => (Some(object.clone()), None),
            [
                Kind::Text(object),
                Kind::Integer(modified_us),
                Kind::Text(id),
                Kind::Integer(number),
            ] => (
                Some(object.clone()),
                Some((*modified_us, id.clone(), usize::try_from(*number).ok()?)),
            ),
            _ => return None,
        };
        let [Kind::Text(integration), ..] = kinds else {
            return None;
        };
        Some(Self {
            integration: integration.parse().ok()?,
            object,
            after,
        })
    }
}

/// Handles GetCompanyProfile.
pub async fn get(
    services: &Services,
    caller: &Caller,
    ask: Ask,
    pages: Pages<'_>,
) -> Result<v1::CompanyProfile, Error> {
    let place = match pages.after(&ask.token)? {
        None => None,
        Some(kinds) => Some(Place::of(&kinds).ok_or_else(page_token::wrong)?),
    };
    // Later pages show the stored data, which the first page has refreshed.
    let refresh = match place {
        None => ask.refresh,
        Some(_) => (RefreshPolicy::Never, Duration::ZERO),
    };
    let opened = services.profile(caller, &ask.parent, ask.id, refresh, &ask.only);
    let profile = opened.await?;
    let _turn = services.limits().profiles.acquire(fair::current()).await;
    let company = convert::company(&profile.company);
    let mut builder = Builder {
        services,
        ask: &ask,
        left: MOST_ANSWER_BYTES - RESERVED - field_bytes(company.encoded_len()),
        records: 0,
        cards: Vec::new(),
    };
    let next = builder.cards(&profile, place).await?;
    Ok(v1::CompanyProfile {
        company: Some(company),
        cards: builder.cards,
        next_page_token: pages.next(next.map(Place::kinds))?,
    })
}

struct Builder<'a> {
    services: &'a Services,
    ask: &'a Ask,
    left: usize,
    /// The number of records on the page.
    records: usize,
    cards: Vec<v1::Card>,
}

impl Builder<'_> {
    fn take(&mut self, bytes: usize) -> bool {
        let bytes = field_bytes(bytes);
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        }
        fits
    }

    /// Adds cards from this position on; returns the position of the next page.
    async fn cards(&mut self, profile: &Profile, place: Option<Place>) -> Result<Option<Place>, Error> {
        let first = match &place {
            None => 0,
            Some(place) => profile
                .sources
                .iter()
                .position(|source| source.integration.id == place.integration)
                .ok_or_else(page_token::wrong)?,
        };
        let mut place = place;
        for at in first..profile.sources.len() {
            let begin = place.take().unwrap_or_else(|| Place {
                integration: profile.sources[at].integration.id,
                object: None,
                after: None,
            });
            let read = self.services.profile_card(profile, at, self.ask.related);
            let Some(card) = read.await? else {
                continue;
            };
            let head = convert::card(&card);
            if !self.take(head.encoded_len()) && !self.cards.is_empty() {
                return Ok(Some(begin));
            }
            self.cards.push(head);
            if let Some(next) = self.tables(&card, begin).await? {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    /// Adds tables of the last card; returns the position of the next page.
    async fn tables(&mut self, card: &Card, begin: Place) -> Result<Option<Place>, Error> {
        let first = match &begin.object {
            None => 0,
            Some(object) => card
                .tables
                .iter()
                .position(|table| table.object == *object)
                .ok_or_else(page_token::wrong)?,
        };
        let mut after = begin.after;
        for (at, table) in card.tables.iter().enumerate().skip(first) {
            let here = Place {
                integration: begin.integration,
                object: Some(table.object.clone()),
                after: after.take(),
            };
            let head = convert::table(table);
            if !self.take(head.encoded_len()) && self.records > 0 {
                return Ok(Some(here));
            }
            let mut shown = head;
            let next = self.records(card, table, here, &mut shown).await?;
            if let Some(card) = self.cards.last_mut() {
                match at {
                    0 => card.company_records = Some(shown),
                    _ => card.related.push(shown),
                }
            }
            if next.is_some() {
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Adds records of a table; returns the position of the next page.
    async fn records(
        &mut self,
        card: &Card,
        table: &Table,
        begin: Place,
        to: &mut v1::RecordTable,
    ) -> Result<Option<Place>, Error> {
        let mut number = begin.after.as_ref().map_or(0, |(_, _, number)| *number);
        let before = number;
        let mut last = begin.clone();
        let mut from = match &begin.after {
            None => 0,
            Some((modified_us, id, _)) => table.keys.partition_point(|(time, key)| {
                (std::cmp::Reverse(*time), key) <= (std::cmp::Reverse(*modified_us), id)
            }),
        };
        let most = table.keys.len();
        while from < most {
            let bytes = self.left.min(BYTES_AT_A_TIME);
            let read = self
                .services
                .profile_records(card, table, from, bytes, self.ask.text_from);
            let (records, reached) = read.await?;
            for (at, record) in records {
                let record = self.fitted(record);
                let length = record.encoded_len();
                if !self.take(length) && self.records > 0 {
                    to.more = true;
                    return Ok(Some(last));
                }
                self.records += 1;
                number += 1;
                to.records.push(record);
                let (modified_us, id) = table.keys[at].clone();
                last.after = Some((modified_us, id, number));
            }
            from = reached.max(from + 1);
        }
        let given = i64::try_from(before + to.records.len()).unwrap_or(i64::MAX);
        to.more = to.total_size > given;
        Ok(None)
    }

    /// A record, with shorter texts if it is the first of the page and does not fit.
    fn fitted(&self, record: RelatedRecord) -> v1::CardRecord {
        let whole = convert::record(record.clone());
        let mut shown = whole;
        if self.records > 0 {
            return shown;
        }
        for most in SHORTER {
            if field_bytes(shown.encoded_len()) <= self.left {
                break;
            }
            let values = record.values.iter().cloned();
            let shorter = |value: Option<Shown>| value.map(|value| value.shorter(most));
            shown = convert::record(RelatedRecord {
                values: values.map(shorter).collect(),
                ..record.clone()
            });
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_its_token_says() {
        let integration = IntegrationId::new();
        for (object, after) in [
            (None, None),
            (Some("Contact".to_owned()), None),
            (Some("Contact".to_owned()), Some((-5, "003".to_owned(), 7))),
        ] {
            let place = Place {
                integration,
                object,
                after,
            };
            assert_eq!(Place::of(&place.clone().kinds()), Some(place));
        }
        assert_eq!(Place::of(&[Kind::Integer(1)]), None);
        assert_eq!(Place::of(&[]), None);
    }
}
