//! Page tokens: sealed, so that they are opaque and cannot be forged; bound to the RPC, the other arguments
//! and the caller's group, so that they are valid only for the list that they came from (AIP-158).

use crate::credentials::seal::Sealer;
use crate::error::{Detail, Error, Reason, Result};
use crate::proto::internal::v1::{KeysetValue, PageToken, keyset_value::Kind};
use crate::service::CompanyKey;
use crate::service::{Cursor, Place};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use secrecy::ExposeSecret as _;

const VERSION: u32 = 1;
const MOST_BYTES: usize = 2_048;
/// A page token expires after a day.
const LIFE_SECONDS: i64 = 24 * 3_600;
const BELONGS_TO: &str = "page_token";

/// A list with pages; its tokens are bound to it.
pub struct Pages<'a> {
    sealer: &'a Sealer,
    rpc: &'static str,
    group: String,
    arguments: Vec<u8>,
    life_seconds: i64,
    /// The field of the request that has the token.
    field: &'static str,
}

impl<'a> Pages<'a> {
    /// The list of this RPC, group and arguments. `request` is the request without page size and token.
    pub fn new(
        sealer: &'a Sealer,
        rpc: &'static str,
        group: Option<&str>,
        request: &impl prost::Message,
    ) -> Self {
        let arguments = blake3::hash(&request.encode_to_vec()).as_bytes()[..16].to_vec();
        Self {
            sealer,
            rpc,
            group: group.unwrap_or_default().to_owned(),
            arguments,
            life_seconds: LIFE_SECONDS,
            field: "page_token",
        }
    }

    /// Sets another lifetime of the tokens.
    #[must_use]
    pub fn living(mut self, seconds: i64) -> Self {
        self.life_seconds = seconds;
        self
    }

    /// Names the field of the request that has the token, in errors.
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.field = field;
        self
    }

    /// The position after which the page begins; `None` for the first page.
    ///
    /// # Errors
    /// INVALID_PAGE_TOKEN.
    pub fn after(&self, token: &str) -> Result<Option<Vec<Kind>>> {
        if token.is_empty() {
            return Ok(None);
        }
        let invalid = || {
            let (field, description) = (
                self.field,
                "is not of this list, or too old: begin again without one",
            );
            Error::new(Reason::InvalidPageToken, format!("{field}: {description}"))
                .detail(Detail::Fields(vec![(field.to_owned(), description.to_owned())]))
        };
        if token.len() > MOST_BYTES {
            return Err(invalid());
        }
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let opened = self.sealer.open(BELONGS_TO, &sealed).map_err(|_| invalid())?;
        let token = PageToken::decode(opened.expose_secret()).map_err(|_| invalid())?;
        let here = token.version == VERSION
            && token.rpc == self.rpc
            && token.group == self.group
            && token.arguments_hash == self.arguments
            && now_seconds() - token.issue_time < self.life_seconds;
        if !here {
            return Err(invalid());
        }
        token
            .keyset
            .into_iter()
            .map(|value| value.kind.ok_or_else(invalid))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// The token for the page after this position; empty if there is none.
    ///
    /// # Errors
    /// None in practice.
    pub fn next(&self, place: Option<Vec<Kind>>) -> Result<String> {
        let Some(place) = place else {
            return Ok(String::new());
        };
        let token = PageToken {
            version: VERSION,
            rpc: self.rpc.to_owned(),
            group: self.group.clone(),
            arguments_hash: self.arguments.clone(),
            keyset: place
                .into_iter()
                .map(|kind| KeysetValue { kind: Some(kind) })
                .collect(),
            issue_time: now_seconds(),
        };
        let sealed = self
            .sealer
            .seal(BELONGS_TO, &token.encode_to_vec())
            .map_err(Error::internal)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }
}

fn now_seconds() -> i64 {
    crate::time::now_us() / 1_000_000
}

/// The offset in a list that is short or in memory.
///
/// # Errors
/// INVALID_PAGE_TOKEN.
pub fn offset(place: Option<Vec<Kind>>) -> Result<usize> {
    match place.as_deref() {
        None => Ok(0),
        Some([Kind::Integer(offset)]) => usize::try_from(*offset).map_err(|_| wrong()),
        Some(_) => Err(wrong()),
    }
}

/// A position (time, id).
///
/// # Errors
/// INVALID_PAGE_TOKEN.
pub fn time_and_id<T: std::str::FromStr>(place: Option<Vec<Kind>>) -> Result<Option<(i64, T)>> {
    match place.as_deref() {
        None => Ok(None),
        Some([Kind::Integer(time), Kind::Text(id)]) => Ok(Some((*time, id.parse().map_err(|_| wrong())?))),
        Some(_) => Err(wrong()),
    }
}

/// A position that is a text.
///
/// # Errors
/// INVALID_PAGE_TOKEN.
pub fn text(place: Option<Vec<Kind>>) -> Result<Option<String>> {
    match place.as_deref() {
        None => Ok(None),
        Some([Kind::Text(text)]) => Ok(Some(text.clone())),
        Some(_) => Err(wrong()),
    }
}

/// A position in a list of companies: (name key, id), or (time, value of each sort key, id) in a search.
///
/// # Errors
/// INVALID_PAGE_TOKEN.
pub fn cursor(place: Option<Vec<Kind>>) -> Result<Option<Cursor>> {
    match place.as_deref() {
        None => Ok(None),
        Some([Kind::Text(name_key), Kind::Text(id)]) => Ok(Some(Cursor::Name(CompanyKey {
            name_key: name_key.clone(),
            company_id: id.parse().map_err(|_| wrong())?,
        }))),
        Some([Kind::Integer(now_us), keys @ .., Kind::Text(id)]) => Ok(Some(Cursor::Search {
            now_us: *now_us,
            places: keys.iter().map(key).collect::<Result<_>>()?,
            company_id: id.parse().map_err(|_| wrong())?,
        })),
        Some(_) => Err(wrong()),
    }
}

/// The position for [`cursor`]. A missing value is encoded as no bytes. A decimal that is not exactly a
/// scaled integer is encoded as the next lower scaled integer and the text that sorts it.
pub fn of_cursor(cursor: Cursor) -> Vec<Kind> {
    match cursor {
        Cursor::Name(key) => vec![Kind::Text(key.name_key), Kind::Text(key.company_id.to_string())],
        Cursor::Search {
            now_us,
            places,
            company_id,
        } => std::iter::once(Kind::Integer(now_us))
            .chain(places.into_iter().map(|place| match place {
                Place::None => Kind::Ordered(Vec::new()),
                Place::Integer(number) => Kind::Integer(number),
                Place::Text(text) => Kind::Text(text),
                Place::Decimal(below, text) => {
                    Kind::Ordered([below.to_be_bytes().as_slice(), text.as_bytes()].concat())
                }
            }))
            .chain([Kind::Text(company_id.to_string())])
            .collect(),
    }
}

fn key(kind: &Kind) -> Result<Place> {
    Ok(match kind {
        Kind::Integer(number) => Place::Integer(*number),
        Kind::Text(text) => Place::Text(text.clone()),
        Kind::Ordered(bytes) => match bytes.split_first_chunk::<8>() {
            Some((below, text)) => {
                let text = std::str::from_utf8(text).map_err(|_| wrong())?;
                Place::Decimal(i64::from_be_bytes(*below), text.to_owned())
            }
            None => Place::None,
        },
    })
}

/// The error of an authentic token with an invalid position.
pub fn wrong() -> Error {
    Error::new(Reason::InvalidPageToken, "page_token: is not of this list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::ListSyncsRequest;

    #[test]
    fn a_token_goes_on_only_where_it_came_from() {
        let key = Sealer::generate_key();
        let sealer = Sealer::new([key.as_str()]).unwrap();
        let request = |parent: &str| ListSyncsRequest {
            parent: parent.into(),
            ..Default::default()
        };
        let pages = Pages::new(&sealer, "ListSyncs", Some("acme"), &request("integrations/1"));
        let token = pages
            .next(Some(vec![Kind::Integer(-5), Kind::Text("x".into())]))
            .unwrap();
        assert_eq!(
            pages.after(&token).unwrap(),
            Some(vec![Kind::Integer(-5), Kind::Text("x".into())])
        );
        assert_eq!(
            (pages.after("").unwrap(), pages.next(None).unwrap()),
            (None, String::new())
        );
        for other in [
            Pages::new(&sealer, "ListSyncs", Some("other"), &request("integrations/1")),
            Pages::new(&sealer, "ListSyncs", Some("acme"), &request("integrations/2")),
            Pages::new(&sealer, "ListFields", Some("acme"), &request("integrations/1")),
        ] {
            assert_eq!(other.after(&token).unwrap_err().reason, Reason::InvalidPageToken);
        }
        for bad in ["x", "AAAA", &token[1..], &"A".repeat(3_000)] {
            assert_eq!(
                pages.after(bad).unwrap_err().reason,
                Reason::InvalidPageToken,
                "{bad}"
            );
        }
    }
}
