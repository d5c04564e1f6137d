//! Values by the field's meaning: companies, web sites, people, places, notes.

use super::make::{hash_text, mix, pick};
use super::words::{
    AWKWARD, DEPARTMENTS, FIRST, FORMS, LAST, NOUNS, PLACES, STEMS, STREETS, TITLES, TLDS, VERBS,
};
use super::{Org, Row};
use crate::schema::Field;
use crate::value::{Value, parse_date};

pub(super) fn email(field: &Field, at: Row, h: u64) -> Value {
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

/// The domain of the nth company: the same in every org, so that different sources can have the same company.
pub(crate) fn domain(n: u32) -> String {
    format!("{}-{n}.{}", stem(n), pick(&TLDS, mix(u64::from(n)) >> 8))
}

/// Web sites in the forms that users enter.
fn website(at: Row, h: u64) -> Value {
    // Sometimes two accounts are one company.
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

pub(super) fn named(org: &Org, at: Row, field: &Field, word: &str, h: u64) -> Value {
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
