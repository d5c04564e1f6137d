//! Values like those in the CRM of a trading company, for demos. Tests use the values of [`named`](super::named) and
//! [`make`](super::make), which include edge cases.

use super::make::{Maker, account_of, pick};
use super::words::{FIRST, LAST, TITLES};
use super::{Org, Row};
use crate::schema::Field;
use crate::value::Value;

const LEADS: [&str; 40] = [
    "Alder",
    "Amber",
    "Atlas",
    "Beacon",
    "Birch",
    "Bluewater",
    "Brightside",
    "Cascade",
    "Cedar",
    "Clearview",
    "Copper",
    "Crescent",
    "Evergreen",
    "Fairfield",
    "Falcon",
    "Granite",
    "Greenfield",
    "Harbor",
    "Highland",
    "Horizon",
    "Ironwood",
    "Juniper",
    "Keystone",
    "Lakeside",
    "Lighthouse",
    "Maple",
    "Meridian",
    "Northgate",
    "Oakridge",
    "Orchard",
    "Pinnacle",
    "Redwood",
    "Ridgeway",
    "Riverside",
    "Sierra",
    "Silverline",
    "Stonebridge",
    "Summit",
    "Westfield",
    "Willow",
];

/// A trade, and the industry it belongs to.
const TRADES: [(&str, &str); 40] = [
    ("Analytics", "Technology"),
    ("Apparel", "Apparel"),
    ("Biotech", "Biotechnology"),
    ("Brewing", "Food & Beverage"),
    ("Builders", "Construction"),
    ("Capital", "Finance"),
    ("Ceramics", "Manufacturing"),
    ("Chemicals", "Chemicals"),
    ("Clinics", "Healthcare"),
    ("Coffee", "Food & Beverage"),
    ("Consulting", "Consulting"),
    ("Dental", "Healthcare"),
    ("Electronics", "Electronics"),
    ("Energy", "Energy"),
    ("Engineering", "Engineering"),
    ("Farms", "Agriculture"),
    ("Foods", "Food & Beverage"),
    ("Freight", "Shipping"),
    ("Furniture", "Retail"),
    ("Hotels", "Hospitality"),
    ("Insurance", "Insurance"),
    ("Instruments", "Machinery"),
    ("Learning", "Education"),
    ("Logistics", "Transportation"),
    ("Machinery", "Machinery"),
    ("Manufacturing", "Manufacturing"),
    ("Media", "Media"),
    ("Motors", "Manufacturing"),
    ("Networks", "Telecommunications"),
    ("Optics", "Electronics"),
    ("Outdoor", "Recreation"),
    ("Packaging", "Manufacturing"),
    ("Pharma", "Biotechnology"),
    ("Plastics", "Chemicals"),
    ("Robotics", "Technology"),
    ("Software", "Technology"),
    ("Steel", "Manufacturing"),
    ("Studios", "Entertainment"),
    ("Textiles", "Apparel"),
    ("Water", "Utilities"),
];

const FORMS: [(&str, &str); 5] = [
    ("", ""),
    (" Inc.", "-inc"),
    (" Ltd", "-ltd"),
    (" Group", "-group"),
    (" Holdings", "-holdings"),
];

/// City, state, country, postal code, street.
const PLACES: [(&str, &str, &str, &str, &str); 10] = [
    ("San Francisco", "CA", "United States", "94105", "Market Street"),
    ("New York", "NY", "United States", "10018", "Madison Avenue"),
    ("London", "", "United Kingdom", "EC2A 4NE", "Long Acre"),
    ("Zürich", "ZH", "Switzerland", "8001", "Bahnhofstrasse"),
    ("München", "Bayern", "Germany", "80539", "Ludwigstraße"),
    ("São Paulo", "SP", "Brazil", "01310-100", "Avenida Paulista"),
    ("Toronto", "ON", "Canada", "M5V 2T6", "King Street West"),
    ("Paris", "Île-de-France", "France", "75008", "Rue de la Boétie"),
    ("Dublin", "", "Ireland", "D02 XY45", "Baggot Street"),
    ("Chicago", "IL", "United States", "60606", "Wacker Drive"),
];

const DEALS: [&str; 10] = [
    "annual renewal",
    "premium support",
    "pilot for 50 users",
    "expansion to two more sites",
    "migration project",
    "training package",
    "data export add-on",
    "new licences",
    "three-year agreement",
    "replacement of the old system",
];

const SUBJECTS: [&str; 10] = [
    "Invoice shows the old address",
    "Export stops after 1,000 rows",
    "Cannot log in since Monday",
    "Wrong tax rate on the last invoice",
    "Dashboard loads slowly",
    "New colleague needs access",
    "Delivery arrived incomplete",
    "Question about the renewal date",
    "Import rejects dates in our format",
    "Please add a second approver",
];

const NOTES: [&str; 10] = [
    "Met at the spring trade fair; asked for a follow-up in the next quarter.",
    "Procurement needs two quotes before they can decide.",
    "Happy with the service, wants to talk about a longer term.",
    "Moved to a new office in January; the address is updated.",
    "Budget is approved, legal review is under way.",
    "Uses the product in two departments, a third is interested.",
    "Prefers e-mail; reachable by phone in the mornings.",
    "The project lead changed, introductory call is planned.",
    "Renewal is expected without changes.",
    "Compares us with one competitor; price is not the main concern.",
];

/// The number of companies after which names repeat, in another city.
const COMPANIES: u32 = 40 * 40 * 5;

/// The parts of the nth company's name; neighbours have different parts.
fn parts(
    n: u32,
) -> (
    &'static str,
    (&'static str, &'static str),
    (&'static str, &'static str),
    u32,
) {
    let at = (u64::from(n) * 2_654_435_761 % u64::from(COMPANIES)) as usize;
    (
        LEADS[at % 40],
        TRADES[at / 40 % 40],
        FORMS[at / 1_600],
        n / COMPANIES,
    )
}

fn company(n: u32) -> String {
    let (lead, (trade, _), (form, _), round) = parts(n);
    let name = format!("{lead} {trade}{form}");
    match round {
        0 => name,
        1..=10 => format!("{name} {}", PLACES[round as usize - 1].0),
        _ => format!("{name} {round}"),
    }
}

fn domain(n: u32) -> String {
    let (lead, (trade, _), (_, form), round) = parts(n);
    let name = format!("{lead}{trade}{form}").to_lowercase();
    if round == 0 {
        format!("{name}.com")
    } else {
        format!("{name}-{round}.com")
    }
}

/// The account that a row is or belongs to.
fn account(org: &Org, at: Row) -> Option<u32> {
    if at.table == super::ACCOUNT {
        Some(at.row)
    } else {
        match org.cell_named(at, "AccountId") {
            Value::Id("001", row) => Some(row),
            _ => account_of(org, at, false),
        }
    }
}

/// A name in the form for addresses.
fn plain(name: &str) -> String {
    let plain = |c: char| match c {
        'á' | 'ã' | 'à' => 'a',
        'é' | 'ê' | 'ë' => 'e',
        'í' | 'ı' => 'i',
        'ó' | 'ö' | 'ø' | 'ô' => 'o',
        'ü' => 'u',
        other => other,
    };
    name.to_lowercase()
        .chars()
        .map(plain)
        .filter(char::is_ascii_lowercase)
        .collect()
}

/// An amount with three significant digits, more often small than large.
fn amount(top: f64, h: u64) -> Value {
    if h.is_multiple_of(12) {
        return Value::Null;
    }
    let part = pick(&[0.0005, 0.002, 0.01, 0.05, 0.2], h >> 8);
    let amount = top * part * (0.2 + ((h >> 16) % 800) as f64 / 1_000.0);
    let step = 10f64.powi(amount.log10().floor() as i32 - 2);
    Value::Num((amount / step).round() * step)
}

/// The value of a cell; `None` if the usual one is realistic.
pub(super) fn value(org: &Org, at: Row, field: &Field, h: u64) -> Option<Value> {
    let of_account = || account(org, at);
    Some(match &field.maker {
        Maker::Word(word) => {
            let place = org.hash(at, super::make::hash_text(field.compound.unwrap_or("place")));
            let place = PLACES[(place % PLACES.len() as u64) as usize];
            match *word {
                "company" => Value::text(company(at.row)),
                "website" if h.is_multiple_of(12) => Value::Null,
                "website" => Value::text(format!("https://www.{}", domain(at.row))),
                "support" if h.is_multiple_of(3) => {
                    Value::text(format!("https://support.{}", domain(at.row)))
                }
                "support" | "mask" => Value::Null,
                "street" => Value::text(format!("{} {}", h % 180 + 1, place.4)),
                "city" => Value::text(place.0),
                "state" if place.1.is_empty() => Value::Null,
                "state" => Value::text(place.1),
                "country" => Value::text(place.2),
                "postal" => Value::text(place.3),
                "latitude" | "longitude" => Value::Null,
                "long" if h.is_multiple_of(3) => Value::Null,
                "long" => Value::text(pick(&NOTES, h >> 8)),
                "rich" if h.is_multiple_of(2) => Value::text(format!("<p>{}</p>", pick(&NOTES, h >> 8))),
                "rich" => Value::Null,
                "wilddate" => Value::Date(19_700 + (h % 1_500) as i32),
                "firstname" => Value::text(pick(&FIRST, h >> 8)),
                "title" => Value::text(pick(&TITLES, h >> 8)),
                "deal" => {
                    let what = pick(&DEALS, h >> 8);
                    let name = of_account().map_or_else(|| "Open call".to_owned(), company);
                    Value::text(format!("{name}: {what}"))
                }
                _ => return None,
            }
        }
        Maker::Money(top) => amount(*top, h),
        Maker::Sparse if !h.is_multiple_of(8) => Value::Null,
        Maker::ByType | Maker::Sparse => match field.kind {
            "picklist" | "combobox" if field.name == "Industry" => Value::text(parts(at.row).1.1),
            "picklist" | "combobox" => {
                let picks: Vec<&str> = field.picks.iter().filter(|p| p.active).map(|p| p.value).collect();
                if picks.is_empty() {
                    return None;
                }
                Value::text(picks[((h >> 8) % picks.len() as u64) as usize])
            }
            "phone" => Value::text(format!("+1 {:03} 555 01{:02}", 200 + h % 700, (h >> 16) % 100)),
            "url" => Value::text(format!("https://www.{}", domain(of_account()?))),
            "email" => {
                let part = |name| plain(&org.cell_named(at, name).as_text());
                let (first, last) = (part("FirstName"), part("LastName"));
                let domain = of_account().map_or_else(|| "example.com".to_owned(), domain);
                if first.is_empty() || last.is_empty() {
                    Value::text(format!("office@{domain}"))
                } else {
                    Value::text(format!("{first}.{last}@{domain}"))
                }
            }
            "currency" => amount(1e6, h),
            "string" | "textarea" if field.name == "Subject" => Value::text(pick(&SUBJECTS, h >> 8)),
            "string" | "textarea" => match field.name.as_str() {
                "SuppliedName" | "AssistantName" => {
                    Value::text(format!("{} {}", pick(&FIRST, h >> 8), pick(&LAST, h >> 16)))
                }
                "Competitor__c" | "SuppliedCompany" | "Tradestyle" => {
                    Value::text(company(h as u32 % COMPANIES))
                }
                _ if field.length < 80 => return None,
                _ if h.is_multiple_of(3) => Value::Null,
                _ => Value::text(pick(&NOTES, h >> 8)),
            },
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::words::AWKWARD;
    use super::*;
    use crate::app::{App, Options, related};

    fn texts(realistic: bool) -> Vec<(String, String)> {
        let options = Options {
            realistic,
            counts: related(400),
            ..Options::default()
        };
        let app = App::new(&options);
        let org = app.orgs[0].read();
        let mut texts = Vec::new();
        for (table, object) in org.schema.objects.iter().enumerate().take(5) {
            for row in 0..org.tables[table].generated() {
                let at = Row { table, row };
                for field in &object.fields {
                    let text = org.cell(at, field).as_text().into_owned();
                    texts.push((format!("{}.{}", object.name, field.name), text));
                }
            }
        }
        texts
    }

    /// The default values include edge cases, the realistic ones do not.
    #[test]
    fn nothing_breaks_a_reader() {
        let breaks = |text: &str| {
            AWKWARD
                .iter()
                .any(|awkward| awkward.len() > 6 && text.contains(awkward))
                || text == "NA"
                || text.contains("javascript:")
                || text.contains("onerror")
                || text.contains("Imported: other")
                || text.len() > 1_000
        };
        assert!(texts(false).iter().any(|(_, text)| breaks(text)));
        let realistic = texts(true);
        let broken: Vec<_> = realistic.iter().filter(|(_, text)| breaks(text)).collect();
        assert!(broken.is_empty(), "{broken:?}");
        let of = |field: &str| -> Vec<&str> {
            let of_field = realistic
                .iter()
                .filter(|(name, text)| name == field && !text.is_empty());
            of_field.map(|(_, text)| text.as_str()).collect()
        };
        for field in ["Account.Name", "Account.Website"] {
            let all = of(field);
            assert!(all.len() > 300, "{field}");
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "{field}");
        }
        for address in of("Contact.Email") {
            assert!(
                address.is_ascii() && address.contains('@') && address.ends_with(".com"),
                "{address}"
            );
        }
    }

    #[test]
    fn companies_have_names_of_their_own_beyond_the_first_round() {
        let names: HashSet<String> = (0..100_000).map(company).collect();
        let domains: HashSet<String> = (0..100_000).map(domain).collect();
        assert_eq!((names.len(), domains.len()), (100_000, 100_000));
    }
}
