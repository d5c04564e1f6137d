//! How the value of a cell follows from seed, object, row and field. Nothing is stored: a million rows cost
//! nothing until somebody reads them, and the same seed gives the same org.

use super::words::{
    AWKWARD, DEPARTMENTS, FIRST, FORMS, LAST, NOUNS, PLACES, STEMS, STREETS, TITLES, TLDS, VERBS,
};
use super::{Org, Row};
use crate::schema::Field;
use crate::value::{Value, civil, parse_date};

/// What a field's values are made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Maker {
    /// Whatever suits the field's type.
    ByType,
    Null,
    /// Mostly null.
    Sparse,
    Fixed(bool),
    Id,
    Deleted,
    Master,
    Created,
    Modified,
    Stamp,
    /// The account a related row hangs under.
    Account,
    Parent,
    Contact,
    Owner,
    QueueOrOwner,
    RecordType,
    Int(i64, i64),
    Number(f64),
    Money(f64),
    Digits(u32),
    Code(&'static str),
    Address(&'static str),
    Location(&'static str),
    Formula(&'static str),
    Word(&'static str),
}

impl Maker {
    /// Reads the maker column of a schema table.
    pub(crate) fn read(text: &'static str, field: &Field) -> Maker {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        match word {
            "" if field.kind == "id" => Maker::Id,
            "" => Maker::ByType,
            "null" => Maker::Null,
            "sparse" => Maker::Sparse,
            "yes" => Maker::Fixed(true),
            "no" => Maker::Fixed(false),
            "deleted" => Maker::Deleted,
            "master" => Maker::Master,
            "created" => Maker::Created,
            "modified" => Maker::Modified,
            "stamp" => Maker::Stamp,
            "account" => Maker::Account,
            "parent" => Maker::Parent,
            "contact" => Maker::Contact,
            "owner" => Maker::Owner,
            "queueorowner" => Maker::QueueOrOwner,
            "recordtype" => Maker::RecordType,
            "int" => {
                let (low, high) = rest.split_once(':').unwrap_or(("0", rest));
                Maker::Int(low.parse().unwrap_or(0), high.parse().unwrap_or(100))
            }
            "number" => Maker::Number(rest.parse().unwrap_or(100.0)),
            "money" => Maker::Money(rest.parse().unwrap_or(100.0)),
            "digits" => Maker::Digits(rest.parse().unwrap_or(4)),
            "code" => Maker::Code(rest),
            "address" => Maker::Address(rest),
            "location" => Maker::Location(rest),
            "formula" => Maker::Formula(rest),
            _ => Maker::Word(text),
        }
    }
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of the input.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// FNV-1a.
pub(crate) fn hash_text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn pick<T: Copy, const N: usize>(from: &[T; N], h: u64) -> T {
    from[(h % N as u64) as usize]
}

/// Seconds since 1970 of 2023-01-01: generated rows were last changed in the two and a half years after.
const CHANGES_FROM: i64 = 1_672_531_200;
const CHANGES_SPAN: i64 = 79_000_000;
const CREATED_FROM: i64 = 1_420_070_400;

/// When a generated row was last changed. About fifty rows share each second, as after bulk updates.
pub(crate) fn stamp(org: &Org, at: Row) -> i64 {
    let buckets = u64::from(org.tables[at.table].generated() / 50 + 1);
    let bucket = (org.hash(at, 0x57a3) % buckets) as i64;
    CHANGES_FROM + bucket * (CHANGES_SPAN / buckets as i64)
}

/// The account of a related row, as the seed has it.
pub(crate) fn account_of(org: &Org, at: Row, nillable: bool) -> Option<u32> {
    let accounts = &org.tables[0];
    let table = &org.tables[at.table];
    if accounts.live_at_start() == 0 {
        return None;
    }
    if table.skewed(at.row) {
        return Some(0);
    }
    let h = org.hash(at, 0xacc7);
    if nillable && h.is_multiple_of(50) {
        return None;
    }
    Some(accounts.nth_live(((h >> 8) % u64::from(accounts.live_at_start())) as u32))
}

/// The value of one cell of a generated row.
pub(crate) fn make(org: &Org, at: Row, field: &Field) -> Value {
    let h = org.hash(at, field.salt);
    match &field.maker {
        Maker::ByType => by_type(field, at, h),
        Maker::Null => Value::Null,
        Maker::Sparse if h.is_multiple_of(8) => by_type(field, at, h),
        Maker::Sparse => Value::Null,
        Maker::Fixed(b) => Value::Bool(*b),
        Maker::Id => Value::Id(org.schema.objects[at.table].prefix, at.row),
        Maker::Deleted => Value::Bool(org.tables[at.table].deleted_at_start(at.row)),
        Maker::Master => master(org, at),
        Maker::Created => Value::Instant(CREATED_FROM + (h % 250_000_000) as i64),
        Maker::Modified => Value::Instant(stamp(org, at) - i64::from(h.is_multiple_of(3)) * 60),
        Maker::Stamp => Value::Instant(stamp(org, at)),
        Maker::Account => {
            account_of(org, at, field.nillable).map_or(Value::Null, |row| Value::Id("001", row))
        }
        Maker::Parent => parent(org, at, h),
        Maker::Contact => some_row(org, 1, h),
        Maker::Owner => Value::Id("005", (h % u64::from(org.tables[super::USER].generated())) as u32),
        Maker::QueueOrOwner if h.is_multiple_of(4) => Value::Id("00G", (h >> 8) as u32 % 3),
        Maker::QueueOrOwner => Value::Id("005", (h % u64::from(org.tables[super::USER].generated())) as u32),
        Maker::RecordType => Value::Id("012", u32::from(h.is_multiple_of(5))),
        Maker::Int(low, high) => Value::Int(low + (h % (high - low + 1) as u64) as i64),
        Maker::Number(_) if h.is_multiple_of(7) => Value::Null,
        Maker::Number(top) => {
            let steps = 10f64.powi(field.scale as i32);
            Value::Num(((h >> 16) % (top * steps) as u64) as f64 / steps)
        }
        Maker::Money(top) => money(*top, field.scale, h),
        Maker::Digits(n) if h.is_multiple_of(3) => {
            Value::text(format!("{:0width$}", h % 10u64.pow(*n), width = *n as usize))
        }
        Maker::Digits(_) => Value::Null,
        Maker::Code(prefix) => Value::text(format!("{prefix}{:07}", at.row)),
        Maker::Address(prefix) => address(org, at, prefix),
        Maker::Location(name) => {
            let part = |end: &str| org.cell_named(at, &format!("{name}__{end}__s")).number();
            match (part("Latitude"), part("Longitude")) {
                (Some(lat), Some(lon)) => Value::Location(lat, lon),
                _ => Value::Null,
            }
        }
        Maker::Formula(name) => super::formula::compute(org, at, name),
        Maker::Word(word) => named(org, at, field, word, h),
    }
}

fn some_row(org: &Org, table: usize, h: u64) -> Value {
    let live = org.tables[table].live_at_start();
    if live == 0 || h.is_multiple_of(3) {
        return Value::Null;
    }
    let row = org.tables[table].nth_live(((h >> 8) % u64::from(live)) as u32);
    Value::Id(org.schema.objects[table].prefix, row)
}

/// A row's parent is an earlier row, so there are no circles.
fn parent(org: &Org, at: Row, h: u64) -> Value {
    let row = at.row / 3;
    if at.row == 0 || !h.is_multiple_of(10) || org.tables[at.table].deleted_at_start(row) {
        return Value::Null;
    }
    Value::Id(org.schema.objects[at.table].prefix, row)
}

/// Half of the deleted rows lost a merge; the last of them lost it to one that had itself lost one.
fn master(org: &Org, at: Row) -> Value {
    let table = &org.tables[at.table];
    let prefix = org.schema.objects[at.table].prefix;
    if !table.deleted_at_start(at.row) || table.live_at_start() == 0 {
        return Value::Null;
    }
    if at.row + 1 == table.generated() {
        return Value::Id(prefix, at.row - 1);
    }
    let h = org.hash(at, 0x3e96);
    if at.row + 2 == table.generated() || h.is_multiple_of(2) {
        return Value::Id(
            prefix,
            table.nth_live(((h >> 8) % u64::from(table.live_at_start())) as u32),
        );
    }
    Value::Null
}

fn money(top: f64, scale: u32, h: u64) -> Value {
    let cents = 10f64.powi(scale as i32);
    match h % 16 {
        0 => Value::Null,
        1 => Value::Num(0.0),
        2 if top >= 1e9 => Value::Num(1e10),
        3 => Value::Num(((h >> 16) % (top as u64)) as f64),
        _ => Value::Num(((h >> 16) % (top * cents) as u64) as f64 / cents),
    }
}

fn by_type(field: &Field, at: Row, h: u64) -> Value {
    match field.kind {
        "picklist" | "combobox" => choose(field, h),
        "multipicklist" => {
            let chosen: Vec<&str> = field
                .picks
                .iter()
                .enumerate()
                .filter(|(n, _)| h >> (8 + n) & 3 == 0)
                .map(|(_, p)| p.value)
                .collect();
            if chosen.is_empty() {
                Value::Null
            } else {
                Value::text(chosen.join(";"))
            }
        }
        "boolean" => Value::Bool(h.is_multiple_of(2)),
        "int" | "long" => Value::Int((h % 1000) as i64),
        "double" => Value::Num((h % 100_000) as f64 / 100.0),
        "currency" => money(1e6, field.scale, h),
        "percent" => Value::Num((h % 101) as f64),
        "date" => Value::Date(19_000 + (h % 3000) as i32),
        "datetime" => Value::Instant(CHANGES_FROM + (h % CHANGES_SPAN as u64) as i64),
        "time" => Value::Millis((h % 48) as i32 * 1_800_000),
        "phone" if h.is_multiple_of(5) => Value::Null,
        "phone" => Value::text(format!(
            "+{} ({}) {:03}-{:04}",
            h % 90 + 1,
            h % 900 + 100,
            h >> 9 & 511,
            h >> 20 & 8191
        )),
        "url" => Value::text(format!("https://www.{}", domain(at.row))),
        "email" => email(field, at, h),
        _ => text(field, h),
    }
}

fn text(field: &Field, h: u64) -> Value {
    if h.is_multiple_of(5) {
        return Value::Null;
    }
    if h % 31 == 3 {
        let awkward = pick(&AWKWARD, h >> 16);
        if awkward.chars().count() <= field.length as usize {
            return Value::text(awkward);
        }
    }
    let text = format!("{} {} {}", pick(&VERBS, h >> 8), pick(&NOUNS, h >> 16), h >> 50);
    Value::text(
        text.chars()
            .take(field.length.max(1) as usize)
            .collect::<String>(),
    )
}

/// One of the values in use: now and then one that is inactive, or (unless the list is restricted) one that
/// the list never had.
fn choose(field: &Field, h: u64) -> Value {
    match (h % 64, field.picks.is_empty()) {
        (_, true) => Value::Null,
        (0..6, _) if field.nillable => Value::Null,
        (6, _) if !field.restricted && field.nillable => Value::text("Imported: other"),
        _ => Value::text(field.picks[((h >> 8) % field.picks.len() as u64) as usize].value),
    }
}

fn email(field: &Field, at: Row, h: u64) -> Value {
    match h % 20 {
        0 | 1 => Value::Null,
        2 => Value::text(format!("First.Last+tag{}@EXAMPLE.com", at.row)),
        _ => Value::text(format!(
            "{}.{}@{}",
            field.key.trim_end_matches("__c"),
            at.row,
            domain(at.row)
        )),
    }
}

fn stem(n: u32) -> &'static str {
    pick(&STEMS, mix(u64::from(n)))
}

/// The domain of the nth company: the same in every org, so that sources of one company meet.
pub(crate) fn domain(n: u32) -> String {
    format!("{}-{n}.{}", stem(n), pick(&TLDS, mix(u64::from(n)) >> 8))
}

/// Web sites as people type them.
fn website(at: Row, h: u64) -> Value {
    // Now and then two accounts are one company.
    let n = if h % 40 == 1 { at.row / 2 } else { at.row };
    let d = domain(n);
    Value::text(match (h >> 8) % 26 {
        0..=8 => format!("https://www.{d}"),
        9..=11 => format!("http://{d}"),
        12 | 13 => d,
        14 => format!("http://www.{}/x", d.to_uppercase()),
        15 => format!("HTTPS://{d}/about?a=1&b=2"),
        16 => format!("www.{d}/"),
        17 | 18 => return Value::Null,
        19 => "n/a".to_owned(),
        20 => format!("https://www.linkedin.com/company/{}-{n}", stem(n)),
        21 => format!("https://www.facebook.com/{}{n}", stem(n)),
        22 => format!("http://{d}:8080/index.html#top"),
        23 => format!("https://shop.{d}/en-us/"),
        24 => format!("https://sites.google.com/view/{}-{n}", stem(n)),
        _ => "javascript:alert(1)".to_owned(),
    })
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

fn named(org: &Org, at: Row, field: &Field, word: &str, h: u64) -> Value {
    let row = at.row;
    let place = pick(
        &PLACES,
        org.hash(at, hash_text(field.compound.unwrap_or("place"))),
    );
    let here = |text: &'static str| {
        if text.is_empty() {
            Value::Null
        } else {
            Value::text(text)
        }
    };
    match word {
        "company" if h % 97 == 5 => Value::text(format!("{} {row}", pick(&AWKWARD, h >> 16))),
        "company" => Value::text(format!("{} {row} {}", capital(stem(row)), pick(&FORMS, h >> 8))),
        "website" => website(at, h),
        "support" if h.is_multiple_of(2) => {
            Value::text(format!("https://support.{}/?q=a+b&lang=en", domain(row)))
        }
        "support" => Value::Null,
        "photo" => Value::text(format!(
            "/services/images/photo/{}",
            crate::ids::text(org.schema.objects[at.table].prefix, row)
        )),
        "street" if h.is_multiple_of(9) => Value::text(format!(
            "{} {}\nBuilding \"{}\"",
            h % 900 + 1,
            pick(&STREETS, h >> 12),
            h % 7
        )),
        "street" => Value::text(format!("{} {}", h % 900 + 1, pick(&STREETS, h >> 12))),
        "city" => here(place.0),
        "state" => here(place.1),
        "country" => here(place.2),
        "postal" => Value::text(format!("{:05}", h % 100_000)),
        "latitude" | "longitude" if org.hash(at, hash_text(field.compound.unwrap_or(""))) >> 40 & 3 != 0 => {
            Value::Null
        }
        "latitude" => Value::Num(place.3),
        "longitude" => Value::Num(place.4),
        "long" => long_text(h),
        "rich" if h.is_multiple_of(2) => Value::text(format!(
            "<p>Our <b>{}</b> &amp; more<br><a href=\"https://{}/\" target=\"_blank\">site</a><img src=x onerror=alert(1)></p>",
            pick(&NOUNS, h >> 9),
            domain(row)
        )),
        "rich" => Value::Null,
        "mask" if h.is_multiple_of(3) => Value::Null,
        "mask" => Value::text("*".repeat(8 + (h >> 9) as usize % 8)),
        "ticker" if h.is_multiple_of(4) => {
            Value::text(format!("{}{}", &stem(row)[..3].to_uppercase(), row % 100))
        }
        "ticker" => Value::Null,
        "year" => Value::text(format!("{}", 1850 + h % 170)),
        "tier" => Value::text(["Gold", "Silver", "Bronze", "bronze"][(h % 4) as usize]),
        "wilddate" => match h % 50 {
            0 => parse_date("0001-01-01").map_or(Value::Null, Value::Date),
            1 => parse_date("4000-12-31").map_or(Value::Null, Value::Date),
            2..=9 => Value::Null,
            _ => Value::Date(19_700 + (h % 1500) as i32),
        },
        "birthdate" if h.is_multiple_of(2) => Value::Date((h % 14_000) as i32 - 6000),
        "birthdate" => Value::Null,
        "firstname" if h.is_multiple_of(11) => Value::Null,
        "firstname" => Value::text(pick(&FIRST, h >> 8)),
        "lastname" => Value::text(pick(&LAST, h >> 8)),
        "fullname" => {
            let part = |name| org.cell_named(at, name).as_text().into_owned();
            Value::text(
                format!("{} {}", part("FirstName"), part("LastName"))
                    .trim()
                    .to_owned(),
            )
        }
        "title" => Value::text(pick(&TITLES, h >> 8)),
        "department" => Value::text(pick(&DEPARTMENTS, h >> 8)),
        "deal" => Value::text(format!(
            "{} {} {}",
            pick(&VERBS, h >> 8),
            pick(&NOUNS, h >> 16),
            row
        )),
        "autonumber" => Value::text(format!("{:08}", row + 1)),
        other => super::lookup_word(org, at, other),
    }
}

/// Most notes are short, some long, and a few as long as the field allows.
fn long_text(h: u64) -> Value {
    match h % 400 {
        0 => {
            let mut text = String::with_capacity(32_000);
            let mut seed = h;
            while text.len() < 31_900 {
                seed = mix(seed);
                text.push_str(pick(&VERBS, seed));
                text.push(' ');
                text.push_str(pick(&NOUNS, seed >> 8));
                text.push(if seed.is_multiple_of(13) { '\n' } else { ' ' });
            }
            text.truncate(text.trim_end().len());
            Value::text(text)
        }
        1..=200 => Value::Null,
        201..=230 => Value::text(pick(&AWKWARD, h >> 16)),
        _ => Value::text(format!(
            "{} the {}.\nThen \"{}\" the {} & call +1-{}.",
            pick(&VERBS, h >> 8),
            pick(&NOUNS, h >> 16),
            pick(&VERBS, h >> 24),
            pick(&NOUNS, h >> 32),
            h % 10_000
        )),
    }
}

fn address(org: &Org, at: Row, prefix: &str) -> Value {
    let part = |end: &str| org.cell_named(at, &format!("{prefix}{end}"));
    let parts = [
        ("city", part("City")),
        ("country", part("Country")),
        ("countryCode", Value::Null),
        ("geocodeAccuracy", part("GeocodeAccuracy")),
        ("latitude", part("Latitude")),
        ("longitude", part("Longitude")),
        ("postalCode", part("PostalCode")),
        ("state", part("State")),
        ("stateCode", Value::Null),
        ("street", part("Street")),
    ];
    if parts.iter().all(|(_, v)| v.is_null()) {
        Value::Null
    } else {
        Value::Address(Box::new(parts))
    }
}

/// The calendar year and month of a date cell.
pub(crate) fn year_month(value: &Value) -> Option<(i64, i64)> {
    match value {
        Value::Date(days) => {
            let (year, month, _) = civil(i64::from(*days));
            Some((year, month))
        }
        _ => None,
    }
}
