//! Which company a record is: identity is the registrable domain of its homepage (mission.md, "Companies").
//!
//! The id is a UUIDv5 of that domain: no look-up, the same on every replica, and it tells nothing about who else holds
//! the company. A homepage is what people typed: `address` finds the web addresses in it, `hosts` says which of them are pages
//! at a host of many. The public suffix list comes embedded with the crate `psl`. A change of any of these changes identities,
//! so [`VERSION`] is stored with the database, and a database of an earlier version is brought to this one when it is opened
//! (src/reidentify.rs).

mod address;
mod hosts;
#[cfg(test)]
mod tests;

use crate::domain::CompanyId;
use address::{Address, addresses};

/// The version of the rules here and of both lists, stored in the database: a number that grows with each change of either,
/// and the release of `psl`, which is pinned to exactly this one.
pub const VERSION: &str = "2:psl-2.1.247";

/// Most texts of a record that are kept as candidates for its homepage.
const MOST_CANDIDATES: usize = 8;
/// Most bytes of one of them.
const MOST_CANDIDATE_BYTES: usize = 2_048;

/// What a homepage's text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homepage {
    /// The registrable domain that identifies a company, in lower case ASCII; `None` where every address is a page at a host
    /// of many.
    pub domain: Option<String>,
    /// The address that does, or the first one there is: a normalised http or https URL.
    pub uri: String,
}

impl Homepage {
    /// Reads a text as people type it: the first address that identifies a company, else the first address. `None` where
    /// there is none. Candidates that [`candidates`] joined are read in their order.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut first = None;
        for address in addresses(text) {
            if let Some(domain) = identifying(&address) {
                let uri = address.uri().unwrap_or_else(|| address.origin());
                return Some(Self {
                    domain: Some(domain),
                    uri,
                });
            }
            // A page without its path would be another one, so one that is too long is not shown.
            first = first.or_else(|| address.uri());
        }
        first.map(|uri| Self { domain: None, uri })
    }
}

fn identifying(address: &Address) -> Option<String> {
    let (domain, suffix) = address.domain()?;
    hosts::identifying(&address.host, domain, suffix, address.rest())
}

/// The registrable domain that identifies a company, or `None` where the text has no web address, or only pages at hosts of
/// many.
#[must_use]
pub fn domain_of(homepage: &str) -> Option<String> {
    Homepage::read(homepage)?.domain
}

/// The homepage as it is shown: a normalised http or https URL, or empty.
#[must_use]
pub fn uri_of(homepage: &str) -> String {
    Homepage::read(homepage)
        .map(|homepage| homepage.uri)
        .unwrap_or_default()
}

/// The company of a record: of the domain of the first usable homepage among the text's addresses, or without one the record
/// itself.
#[must_use]
pub fn company_of_record(
    connector: &str,
    organization_id: &str,
    external_id: &str,
    homepage: &str,
) -> CompanyId {
    match domain_of(homepage) {
        Some(domain) => CompanyId::of_domain(&domain),
        None => CompanyId::of_record(connector, organization_id, external_id),
    }
}

/// The texts that may be a record's homepage, in their order, as one text to be stored: one a line, each at most 2,048 bytes,
/// at most 8. `None` where there is none.
pub fn candidates<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    for text in texts {
        let text = one_line(text);
        if !text.is_empty() && !kept.contains(&text) {
            kept.push(text);
        }
        if kept.len() == MOST_CANDIDATES {
            break;
        }
    }
    (!kept.is_empty()).then(|| kept.join("\n"))
}

/// One line within bounds. A text is cut where no address is: behind white space, or behind an address's host.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim().chars() {
        if line.len() + c.len_utf8() > MOST_CANDIDATE_BYTES {
            let end = line.rfind([' ', '/', '?', '#']).map_or(0, |end| end + 1);
            line.truncate(end);
            break;
        }
        line.push(match c {
            // A line break parts addresses, as a semicolon does.
            '\n' | '\r' | '\t' => ';',
            c if c.is_control() => ' ',
            c => c,
        });
    }
    line.trim().to_owned()
}
