//! The identity of companies: the company of a record is the registrable domain of its homepage (mission.md,
//! "Companies").
//!
//! The company id is a UUIDv5 of that domain. It needs no lookup, is the same on each replica, and does not reveal
//! who else has the company. A homepage is free text: `address` finds web addresses in it, and `hosts` decides which
//! of them are pages on shared hosts. The public suffix list is embedded with the crate `psl`. A change of any of
//! these changes identities. Therefore [`VERSION`] is stored in the database, and a database with an earlier version
//! is converted when it is opened (src/reidentify.rs).

mod address;
mod hosts;
#[cfg(test)]
mod tests;

use crate::domain::CompanyId;
use address::{Address, addresses};

/// The version of these rules and of both lists, stored in the database: a number that is raised with each change of
/// either, and the release of `psl`, which is pinned to this exact release.
pub const VERSION: &str = "2:psl-2.1.247";

/// Maximum number of texts of a record that are stored as candidates for its homepage.
const MOST_CANDIDATES: usize = 8;
/// Maximum length of a candidate, in bytes.
const MOST_CANDIDATE_BYTES: usize = 2_048;

/// The result of parsing a homepage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homepage {
    /// The registrable domain that identifies the company, in lower-case ASCII; `None` if all addresses are pages on
    /// shared hosts.
    pub domain: Option<String>,
    /// The address with that domain, or else the first address: a normalized http or https URL.
    pub uri: String,
}

impl Homepage {
    /// Parses free text: returns the first address that identifies a company, else the first address; `None` if there
    /// is no address. Candidates that were joined by [`candidates`] are read in order.
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
            // An address that is too long is not shown: without its path it would be another page.
            first = first.or_else(|| address.uri());
        }
        first.map(|uri| Self { domain: None, uri })
    }
}

fn identifying(address: &Address) -> Option<String> {
    let (domain, suffix) = address.domain()?;
    hosts::identifying(&address.host, domain, suffix, address.rest())
}

/// The registrable domain that identifies a company; `None` if the text has no web address or only pages on shared
/// hosts.
#[must_use]
pub fn domain_of(homepage: &str) -> Option<String> {
    Homepage::read(homepage)?.domain
}

/// The displayed homepage: a normalized http or https URL, or empty.
#[must_use]
pub fn uri_of(homepage: &str) -> String {
    Homepage::read(homepage)
        .map(|homepage| homepage.uri)
        .unwrap_or_default()
}

/// The company of a record: that of the domain of the first usable homepage in the text, or else a company known only
/// by this record.
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

/// The texts that may be the homepage of a record, in order, joined for storage: one per line, at most 8, each at
/// most 2,048 bytes. `None` if there is none.
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

/// Puts a text on one line within the limit. A text is cut only outside addresses: after white space, or after the
/// host of an address.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim().chars() {
        if line.len() + c.len_utf8() > MOST_CANDIDATE_BYTES {
            let end = line.rfind([' ', '/', '?', '#']).map_or(0, |end| end + 1);
            line.truncate(end);
            break;
        }
        line.push(match c {
            // A line break separates addresses, like a semicolon.
            '\n' | '\r' | '\t' => ';',
            c if c.is_control() => ' ',
            c => c,
        });
    }
    line.trim().to_owned()
}
