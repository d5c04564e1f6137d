//! The vocabulary of generated values.

pub(crate) const FIRST: [&str; 24] = [
    "Ada", "Björn", "Chidi", "Dolores", "Émile", "Fatima", "Grace", "Hiroshi", "Inês", "João", "Katya",
    "Liam", "Mónica", "Ngozi", "Olga", "Priya", "Quentin", "Renée", "Søren", "Tomás", "Ursula", "Víctor",
    "Wei", "Zoë",
];

pub(crate) const LAST: [&str; 24] = [
    "Abara",
    "Brontë",
    "Castillo",
    "D'Arcy",
    "Eriksson",
    "Fitzgerald",
    "García Márquez",
    "Haddad",
    "Ito",
    "Jørgensen",
    "Kowalski",
    "Lovelace",
    "Müller",
    "Nakamura",
    "O'Neil",
    "Petrov",
    "Quispe",
    "Rossi",
    "Smith-Jones",
    "Turing",
    "Uzun",
    "van den Berg",
    "Wójcik",
    "Yılmaz",
];

pub(crate) const STEMS: [&str; 20] = [
    "acme",
    "northwind",
    "globex",
    "initech",
    "umbra",
    "stark",
    "wayne",
    "hooli",
    "vandelay",
    "soylent",
    "cyber",
    "tyrell",
    "aperture",
    "wonka",
    "oscorp",
    "massive",
    "gekko",
    "sirius",
    "duff",
    "zorg",
];

pub(crate) const FORMS: [&str; 10] = [
    "Inc.",
    "GmbH",
    "Ltd",
    "S.A.",
    "AG",
    "& Sons",
    "Holdings",
    "Labs",
    "Partners",
    "Co., Ltd.",
];

pub(crate) const TLDS: [&str; 10] = [
    "com", "com", "com", "io", "de", "co.uk", "fr", "com.br", "co.jp", "net",
];

pub(crate) const STREETS: [&str; 8] = [
    "Market St",
    "Rue de la Paix",
    "Königstraße",
    "High Street",
    "Via Roma",
    "Avenida Paulista",
    "1-1 Marunouchi",
    "Long Acre",
];

/// City, state, country, latitude, longitude.
pub(crate) const PLACES: [(&str, &str, &str, f64, f64); 10] = [
    ("San Francisco", "CA", "United States", 37.794_016, -122.395_016),
    ("New York", "NY", "United States", 40.712_776, -74.005_974),
    ("London", "", "United Kingdom", 51.507_351, -0.127_758),
    ("Zürich", "ZH", "Switzerland", 47.376_887, 8.541_694),
    ("München", "Bayern", "Germany", 48.135_125, 11.581_981),
    ("São Paulo", "SP", "Brazil", -23.550_520, -46.633_309),
    ("東京", "東京都", "Japan", 35.689_487, 139.691_706),
    ("Paris", "Île-de-France", "France", 48.856_614, 2.352_222),
    ("تل أبيب", "", "Israel", 32.085_300, 34.781_768),
    ("Reykjavík", "", "Iceland", 64.146_582, -21.942_635),
];

pub(crate) const NOUNS: [&str; 16] = [
    "renewal",
    "outage",
    "pilot",
    "invoice",
    "migration",
    "dashboard",
    "audit",
    "rollout",
    "warehouse",
    "forecast",
    "upgrade",
    "integration",
    "training",
    "contract",
    "pipeline",
    "refund",
];

pub(crate) const VERBS: [&str; 8] = [
    "Discuss", "Escalate", "Prepare", "Review", "Close", "Postpone", "Explain", "Reopen",
];

pub(crate) const TITLES: [&str; 8] = [
    "CEO",
    "VP Sales",
    "Head of Data",
    "Account Manager",
    "CTO",
    "Buyer",
    "Directeur général",
    "Lab & Facilities Lead",
];

pub(crate) const DEPARTMENTS: [&str; 6] = ["Sales", "R&D", "Finance", "IT", "Legal", "Operations"];

/// Texts that are edge cases for readers: markup, quotes, line ends, right-to-left, emoji, words like null, numbers
/// with leading zeros, formulas, separators.
pub(crate) const AWKWARD: [&str; 18] = [
    "NA",
    "null",
    "NaN",
    "None",
    "\"quoted\", with commas; and\ttabs",
    "two\r\nlines",
    "O'Reilly \\ back\\slash",
    "a+b & c=d % 100",
    "🚀 rocket 👩‍👩‍👧 family",
    "שלום עולם",
    "مرحبا \u{202e}txet",
    "007",
    "=SUM(A1:A9)",
    "<script>alert('x')</script>",
    "Ünïcödé ﬁ ligature",
    "zero\u{200b}width",
    "true",
    "1e3",
];
