//! Generated values: the same row and property always have the same value.

use crate::app::iso;
use crate::portal::schema::{Object, Property};

const FIRST: [&str; 12] = [
    "Ada", "Ben", "Chloë", "Dmitri", "Eve", "Farid", "Grace", "Hiro", "Ines", "Jörg", "Kim", "Lea",
];
const LAST: [&str; 12] = [
    "Adams", "Brontë", "Costa", "Dupont", "Eriksen", "Fischer", "García", "Haddad", "Ito", "Jensen",
    "Kowalski", "O'Neil",
];
const LEAD: [&str; 12] = [
    "Acorn", "Bright", "Cobalt", "Delta", "Ember", "Fjord", "Granite", "Harbor", "Indigo", "Juniper",
    "Kestrel", "Lumen",
];
const TAIL: [&str; 10] = [
    "Systems",
    "& Sons",
    "Labs",
    "Foods",
    "Energy",
    "Robotics",
    "Logistics",
    "Bank",
    "Media",
    "Works",
];
const CITIES: [&str; 8] = [
    "Berlin",
    "Dublin",
    "Zürich",
    "Boston",
    "Osaka",
    "São Paulo",
    "Nairobi",
    "Malmö",
];
const WORDS: [&str; 14] = [
    "renewal",
    "pilot",
    "budget",
    "roadmap",
    "invoice",
    "support",
    "upgrade",
    "contract",
    "security",
    "review",
    "launch",
    "training",
    "migration",
    "\"quoted\"",
];

/// The beginning of the portal: 2019-01-01.
const BEGIN_MS: i64 = 1_546_300_800_000;
const DAY_MS: i64 = 86_400_000;

/// A pseudorandom number derived from its arguments (splitmix64 over an FNV hash).
pub(crate) fn hash(seed: u64, object: Object, row: u32, what: &str) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for byte in [object.index() as u8]
        .into_iter()
        .chain(row.to_le_bytes())
        .chain(what.bytes())
    {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

/// The time when a row was created.
pub(crate) fn created_ms(seed: u64, object: Object, row: u32) -> i64 {
    BEGIN_MS + (hash(seed, object, row, "created") % (2_000 * DAY_MS as u64)) as i64
}

/// The default time of its last change.
pub(crate) fn updated_ms(seed: u64, object: Object, row: u32) -> i64 {
    created_ms(seed, object, row) + (hash(seed, object, row, "updated") % (300 * DAY_MS as u64)) as i64
}

/// The word in a company's names. Every 37th company has that of the previous one: one company with two records.
fn brand(seed: u64, row: u32) -> (u32, String) {
    let row = if row % 37 == 36 { row - 1 } else { row };
    let lead = LEAD[(hash(seed, Object::Companies, row, "lead") % 12) as usize];
    let tail = TAIL[(hash(seed, Object::Companies, row, "tail") % 10) as usize];
    (row, format!("{lead} {tail}"))
}

/// The value of a property, if the row has one.
pub(crate) fn value(seed: u64, object: Object, row: u32, property: &Property) -> Option<String> {
    let h = hash(
        seed ^ property.round.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        object,
        row,
        &property.name,
    );
    let pick = |list: &[&str], salt: u32| list[((h >> salt) % list.len() as u64) as usize].to_owned();
    let named = matches!(
        property.maker.as_str(),
        "company" | "first" | "last" | "deal" | "ticket" | "created"
    );
    // Most fields of a CRM are sometimes empty, names rarely.
    if !named && h.is_multiple_of(5) || named && property.maker != "created" && h.is_multiple_of(97) {
        return None;
    }
    let text = match property.maker.as_str() {
        "company" => brand(seed, row).1,
        "domain" | "website" if object == Object::Companies && row % 29 == 28 => return None,
        "domain" | "website" | "linkedin" if object == Object::Companies => {
            let (row, brand) = brand(seed, row);
            let word = brand.split(' ').next().unwrap_or_default().to_lowercase();
            match property.maker.as_str() {
                // The registrable domain of the website, as at HubSpot: with a shared domain all would be one
                // company.
                "domain" => format!("{word}-{row}-site.com"),
                "website" => format!("https://www.{word}-{row}-site.com/"),
                _ => format!("https://www.linkedin.com/company/{word}-{row}"),
            }
        }
        "website" => format!("http://person-{row}.example.org"),
        "phone" => format!("+49 30 {:07}", h % 10_000_000),
        "city" => pick(&CITIES, 8),
        "country" => pick(&["Germany", "Ireland", "Japan", "United States"], 8),
        "zip" => format!("{:05}", h % 100_000),
        "year" => (1950 + h % 70).to_string(),
        "first" => pick(&FIRST, 8),
        "last" => pick(&LAST, 8),
        "email" => format!("person{row}.{}@example.org", h % 1_000),
        "title" => pick(&["CEO", "Buyer", "Head of IT", "Engineer"], 8),
        "deal" => format!("{} {}", pick(&LEAD, 8), pick(&WORDS, 16)),
        "ticket" => format!("{} about {}", pick(&["Question", "Problem"], 8), pick(&WORDS, 16)),
        "number" => format!("{}.{:02}", h % 10_000_000, (h >> 32) % 100),
        "whole" => (h % 5_000).to_string(),
        "fraction" => format!("0.{:03}", h % 1_000),
        "bool" => (h & 256 == 0).to_string(),
        "date" => iso(BEGIN_MS + (h % 3_000) as i64 * DAY_MS)[..10].to_owned(),
        "datetime" => iso(BEGIN_MS + (h % 250_000_000_000) as i64),
        "owner" => (81_000_000 + h % 5).to_string(),
        "html" => format!("<p>{} &amp; {}</p>", pick(&WORDS, 8), pick(&WORDS, 16)),
        "option" if property.field_type == "checkbox" => {
            let chosen: Vec<&str> = property
                .options
                .iter()
                .enumerate()
                .filter(|(at, _)| h >> (8 + at) & 1 == 1)
                .map(|(_, o)| o.value.as_str())
                .collect();
            if chosen.is_empty() {
                return None;
            }
            chosen.join(";")
        }
        "option" => property.options[((h >> 8) % property.options.len().max(1) as u64) as usize]
            .value
            .clone(),
        "words" => (0..3 + h % 9)
            .map(|n| WORDS[((h >> (8 + n * 3)) % WORDS.len() as u64) as usize])
            .collect::<Vec<_>>()
            .join(" "),
        // Stored in the row itself, by the portal.
        _ => return None,
    };
    Some(text)
}
