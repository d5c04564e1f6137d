//! Derives the value of a cell from seed, object, row and field. Nothing is stored: rows need no memory until they
//! are read, and the same seed always gives the same org.

use super::named::{domain, email, named};
use super::words::{AWKWARD, NOUNS, VERBS};
use super::{Org, Row};
use crate::schema::Field;
use crate::value::{Value, civil};

/// The generator of a field's values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Maker {
    /// By the field's type.
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
    /// The account of a related row.
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
    /// Parses the maker column of a schema table.
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

pub(super) fn pick<T: Copy, const N: usize>(from: &[T; N], h: u64) -> T {
    from[(h % N as u64) as usize]
}

/// 2023-01-01 in seconds since 1970: generated rows were last changed in the two and a half years after.
const CHANGES_FROM: i64 = 1_672_531_200;
const CHANGES_SPAN: i64 = 79_000_000;
const CREATED_FROM: i64 = 1_420_070_400;

/// The number of different stamps in a table. About fifty rows share each second, as after bulk updates.
fn stamps(org: &Org, table: usize) -> u64 {
    u64::from(org.tables[table].generated() / 50 + 1)
}

fn stamp_number(org: &Org, at: Row) -> u32 {
    (org.hash(at, 0x57a3) % stamps(org, at.table)) as u32
}

/// The time when a generated row was last changed.
pub(crate) fn stamp(org: &Org, at: Row) -> i64 {
    let step = CHANGES_SPAN / stamps(org, at.table) as i64;
    CHANGES_FROM + i64::from(stamp_number(org, at)) * step
}

/// The rows of a table that can have a stamp in a range; None if that would be most of them.
pub(crate) fn rows_stamped(org: &Org, table: usize, from: i64, to: i64) -> Option<Vec<u32>> {
    let rows = &org.tables[table];
    if !rows.is_generated() {
        return None;
    }
    let stamps = stamps(org, table) as i64;
    let number = |at: i64| (at.saturating_sub(CHANGES_FROM)).div_euclid(CHANGES_SPAN / stamps);
    let (first, last) = (number(from).max(0), number(to).min(stamps - 1));
    if last - first > stamps / 2 {
        return None;
    }
    let mut found: Vec<u32> = rows
        .stamped()
        .filter(|(_, stamp)| (from..=to).contains(stamp))
        .map(|(row, _)| row)
        .collect();
    if first <= last {
        let index = rows.stamp_index(|row| stamp_number(org, Row { table, row }));
        found.extend(index.between(first as u32, last as u32));
    }
    Some(found)
}

/// The generated account of a related row.
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
    if org.realistic
        && let Some(value) = super::realistic::value(org, at, field, h)
    {
        return value;
    }
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
        Maker::Formula(name) => field.shifted(super::formula::compute(org, at, name)),
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

/// A row's parent is an earlier row, so there are no cycles.
fn parent(org: &Org, at: Row, h: u64) -> Value {
    let row = at.row / 3;
    if at.row == 0 || !h.is_multiple_of(10) || org.tables[at.table].deleted_at_start(row) {
        return Value::Null;
    }
    Value::Id(org.schema.objects[at.table].prefix, row)
}

/// Half of the deleted rows were merged; the winner of the last one was itself merged.
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

/// One of the values in use; sometimes an inactive value, or (unless the list is restricted) one that was never in
/// the list.
fn choose(field: &Field, h: u64) -> Value {
    match (h % 64, field.picks.is_empty()) {
        (_, true) => Value::Null,
        (0..6, _) if field.nillable => Value::Null,
        (6, _) if !field.restricted && field.nillable => Value::text("Imported: other"),
        _ => Value::text(field.picks[((h >> 8) % field.picks.len() as u64) as usize].value),
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
