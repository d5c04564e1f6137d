//! The records of the dummy, generated from the seed and the record's number when they are read.

use serde::{Deserialize, Serialize};
use tether_connector_sdk::payload::{Address, Payload};
use tether_connector_sdk::proto::{AmountCurrency, FieldType, Parent, Record, SelectedField};

use crate::fields::{CURRENCIES, CURRENCY, INDUSTRIES, OBJECTS, STAGES, TAGS, is_missing, retyped};
use crate::script::Settings;

/// 2024-01-01, in unix microseconds.
const EPOCH_US: i64 = 1_704_067_200_000_000;
const DAY_US: i64 = 86_400_000_000;

/// The objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Company,
    Person,
    Deal,
}

impl Object {
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        match key {
            "Company" => Some(Self::Company),
            "Person" => Some(Self::Person),
            "Deal" => Some(Self::Deal),
            _ => None,
        }
    }

    pub(crate) fn key(self) -> &'static str {
        OBJECTS[self as usize].0
    }

    /// The external id of a record of a company.
    fn id(self, company: u64, index: u64) -> String {
        match self {
            Self::Company => company_id(company),
            Self::Person => format!("P{company:08}-{index:03}"),
            Self::Deal => format!("D{company:08}-{index:03}"),
        }
    }

    /// The end of the range of ids that has the records of all companies up to this one.
    pub(crate) fn through(self, company: u64) -> String {
        match self {
            _ if company == 0 => String::new(),
            Self::Company => company_id(company),
            // Behind every number.
            Self::Person => format!("P{company:08}-~"),
            Self::Deal => format!("D{company:08}-~"),
        }
    }
}

/// The size and state of the CRM.
pub(crate) struct World {
    seed: u64,
    revision: u64,
    companies: u64,
    people: u64,
    deals: u64,
    padding: usize,
    /// Some companies are deleted, others are gone without a trace.
    deleted: u64,
    gone: u64,
    /// Some companies changed so often without a change of their time.
    late: u64,
    /// Moves the values of calculated fields.
    drift: u64,
    /// New companies are not reported as changes, as if the user had only now been allowed to see them.
    quiet: bool,
    /// The mutant that takes a record for unchanged if its time is that of before.
    trusts_times: bool,
}

/// What a read has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    revision: u64,
    companies: u64,
    #[serde(default)]
    deleted: u64,
    #[serde(default)]
    late: u64,
}

/// The state of a company.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Alive,
    /// Listed as deleted.
    Deleted,
    /// Listed as merged into the company before it.
    Merged,
    /// No longer listed.
    Gone,
}

impl World {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            seed: settings.number("seed", 1),
            revision: settings.number("revision", 0),
            companies: settings.number("companies", 100),
            people: settings.number("people", 2),
            deals: settings.number("deals", 1),
            padding: settings.number("padding", 0) as usize,
            deleted: settings.number("deleted", 0),
            gone: settings.number("gone", 0),
            late: settings.number("late", 0),
            drift: settings.number("drift", 0),
            quiet: !settings.text("quiet").is_empty(),
            trusts_times: settings.is_mutant("trusts-times"),
        }
    }

    /// What a read has seen when it has read everything now.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            revision: self.revision,
            companies: self.companies,
            deleted: self.deleted,
            late: self.late,
        }
    }

    /// Whether the CRM reports that a company was changed, added, deleted or merged since. One that is gone without a trace is
    /// not reported.
    pub(crate) fn is_changed(&self, number: u64, since: Seen) -> bool {
        let before = Self {
            revision: since.revision,
            deleted: since.deleted,
            late: since.late,
            ..*self
        };
        let fate = self.fate(number);
        let moved = fate != before.fate(number)
            || self.changed(number) != before.changed(number)
            || self.late(number) != before.late(number) && !self.trusts_times;
        match number > since.companies {
            true => fate != Fate::Gone && !self.quiet,
            false => fate != Fate::Gone && moved,
        }
    }

    /// The number of records, without deleted ones.
    pub(crate) fn count(&self, object: Object) -> u64 {
        let alive = (1..=self.companies)
            .filter(|&number| self.fate(number) == Fate::Alive)
            .count() as u64;
        alive * self.per_company(object)
    }

    /// The number of the last company.
    pub(crate) fn companies(&self) -> u64 {
        self.companies
    }

    fn per_company(&self, object: Object) -> u64 {
        match object {
            Object::Company => 1,
            Object::Person => self.people,
            Object::Deal => self.deals,
        }
    }

    fn fate(&self, number: u64) -> Fate {
        match number % 20 {
            3 if self.revision >= 1 => Fate::Deleted,
            13 if self.revision >= 1 => Fate::Gone,
            7 if self.revision >= 2 => Fate::Merged,
            9 if self.deleted >= 1 => Fate::Deleted,
            11 if self.gone >= 1 => Fate::Gone,
            _ => Fate::Alive,
        }
    }

    /// The revision in which a company last changed.
    fn changed(&self, number: u64) -> u64 {
        if number % 20 == 5 { self.revision } else { 0 }
    }

    /// How often a company changed without a change of its time.
    fn late(&self, number: u64) -> u64 {
        if number % 20 == 15 { self.late } else { 0 }
    }

    /// A pseudorandom number.
    fn dice(&self, number: u64, what: u64) -> u64 {
        let mut dice =
            self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ what.wrapping_mul(0xD1B5_4A32_D192_ED03);
        dice = (dice ^ (dice >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        dice = (dice ^ (dice >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        dice ^ (dice >> 31)
    }
}

/// The external id of a company. With this form the order of the bytes is that of the numbers.
pub(crate) fn company_id(number: u64) -> String {
    format!("C{number:08}")
}

/// The number of a company.
pub(crate) fn company_number(id: &str) -> Option<u64> {
    id.strip_prefix('C')?.parse().ok()
}

/// Generates the rows of one object with the selected and visible fields.
pub(crate) struct Rows<'a> {
    world: &'a World,
    object: Object,
    fields: Vec<(String, FieldType, Option<AmountCurrency>)>,
    missing: Vec<String>,
    retyped: Vec<(String, FieldType)>,
    payload: Payload,
    spaced: bool,
    orphaned: bool,
    revives: bool,
    /// The rows of people and deals that were deleted with their company are reported, too.
    reports_deletions: bool,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        world: &'a World,
        settings: &Settings,
        object: Object,
        selected: &[SelectedField],
    ) -> Self {
        let known = OBJECTS[object as usize].3;
        let mut rows = Self {
            world,
            object,
            fields: Vec::new(),
            missing: Vec::new(),
            retyped: Vec::new(),
            payload: Payload::new(Vec::<String>::new()),
            spaced: settings.is_mutant("payload-with-space"),
            orphaned: settings.is_mutant("unknown-parents"),
            revives: settings.is_mutant("deleted-as-live"),
            reports_deletions: false,
        };
        for field in selected {
            let more =
                || object == Object::Company && settings.pairs("keys").any(|(key, _)| key == field.key);
            let found = known.iter().any(|(key, _)| *key == field.key) || more();
            if !found || is_missing(settings, object.key(), Some(&field.key)) {
                rows.missing.push(field.key.clone());
                continue;
            }
            let now = retyped(settings, object.key(), &field.key).filter(|kind| *kind != field.r#type());
            rows.retyped.extend(now.map(|kind| (field.key.clone(), kind)));
            // The mutant gives currencies to hosts that did not ask for them.
            let currency =
                match settings.is_mutant("unasked-currency") && field.r#type() == FieldType::Currency {
                    true => Some(AmountCurrency::default()),
                    false => field.currency.clone(),
                };
            rows.fields
                .push((field.key.clone(), now.unwrap_or(field.r#type()), currency));
        }
        rows.payload = Payload::new(rows.fields.iter().map(|(key, ..)| key.clone()));
        rows
    }

    /// The same, which also reports people and deals that were deleted with their company.
    pub(crate) fn reporting_deletions(self) -> Self {
        Self {
            reports_deletions: true,
            ..self
        }
    }

    /// Selected fields that the user cannot see.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Selected fields with a new type.
    pub(crate) fn retyped(&self) -> &[(String, FieldType)] {
        &self.retyped
    }

    /// Adds the rows of one company; for the object of companies, the company's own row.
    pub(crate) fn of_company(&mut self, number: u64, out: &mut Vec<Record>) {
        let known = (1..=self.world.companies).contains(&number);
        let fate = match self.world.fate(number) {
            Fate::Deleted if self.revives => Fate::Alive,
            fate => fate,
        };
        if self.object == Object::Company {
            if !known || matches!(fate, Fate::Deleted | Fate::Merged | Fate::Gone) {
                if fate != Fate::Gone || !known {
                    out.push(Record {
                        external_id: company_id(number),
                        deleted: true,
                        merged_into: if fate == Fate::Merged {
                            company_id(number - 1)
                        } else {
                            String::new()
                        },
                        modified_us: EPOCH_US + self.world.revision.cast_signed() * DAY_US,
                        ..Record::default()
                    });
                }
            } else {
                out.push(self.row(number, 0));
            }
            return;
        }
        for index in 1..=self.world.per_company(self.object) {
            match fate {
                Fate::Alive if known => out.push(self.row(number, index)),
                Fate::Deleted | Fate::Merged if known && self.reports_deletions => out.push(Record {
                    external_id: self.object.id(number, index),
                    deleted: true,
                    ..Record::default()
                }),
                _ => {}
            }
        }
    }

    fn row(&mut self, company: u64, index: u64) -> Record {
        let key = company * 1_000 + index;
        for place in 0..self.fields.len() {
            let (field, kind, currency) = self.fields[place].clone();
            self.field(place, &field, kind, company, key);
            if let Some(currency) = currency {
                let own = CURRENCIES[(self.world.dice(key, 16) % 3) as usize];
                let shared = currency.field != CURRENCY && !currency.code.is_empty();
                self.payload
                    .currency(place, if shared { &currency.code } else { own });
            }
        }
        let parent = || Parent {
            object: "Company".to_owned(),
            external_id: company_id(if self.orphaned { 0 } else { company }),
        };
        let homepage = format!("https://www.company-{company}.example");
        let (external_id, parents, homepage) = match self.object {
            Object::Company => (company_id(company), Vec::new(), homepage),
            Object::Person | Object::Deal => (self.object.id(company, index), vec![parent()], String::new()),
        };
        let mut payload = self.payload.finish();
        if self.spaced {
            payload = [b" ", payload.as_ref()].concat().into();
        }
        Record {
            external_id,
            payload,
            modified_us: EPOCH_US + self.world.changed(company).cast_signed() * DAY_US,
            parents,
            display_name: self.name(company, index),
            homepages: Some(homepage.clone())
                .filter(|page| !page.is_empty())
                .into_iter()
                .collect(),
            homepage,
            ..Record::default()
        }
    }

    fn name(&self, company: u64, index: u64) -> String {
        match (self.object, self.world.changed(company)) {
            (Object::Company, 0) if self.world.late(company) > 0 => {
                format!("Company {company} (late {})", self.world.late(company))
            }
            (Object::Company, 0) => format!("Company {company}"),
            (Object::Company, revision) => format!("Company {company} (revision {revision})"),
            (Object::Person, _) => format!("Person {index} of {company}"),
            (Object::Deal, _) => format!("Deal {index} of {company}"),
        }
    }

    fn field(&mut self, place: usize, field: &str, kind: FieldType, company: u64, key: u64) {
        let dice = |what: u64| self.world.dice(key, what);
        let name = self.name(company, key % 1_000);
        let payload = &mut self.payload;
        match field {
            "Name" => payload.text(place, &name),
            "Website" => payload.text(place, &format!("https://www.company-{company}.example")),
            "Industry" => payload.text(place, INDUSTRIES[(dice(1) % 5) as usize]),
            "Employees" => payload.value(place, kind, &(dice(2) % 10_000).to_string()),
            "Revenue" | "Amount" => {
                payload.value(
                    place,
                    kind,
                    &format!("{}.{:02}", dice(3) % 1_000_000, dice(4) % 100),
                );
            }
            "Growth" => payload.value(place, kind, &format!("{}.5", dice(5) % 100 + self.world.drift)),
            "Founded" | "CloseDate" => {
                payload.value(
                    place,
                    kind,
                    &format!(
                        "20{:02}-{:02}-{:02}",
                        dice(6) % 25,
                        dice(7) % 12 + 1,
                        dice(8) % 28 + 1
                    ),
                );
            }
            "Updated" => payload.timestamp(
                place,
                EPOCH_US + self.world.changed(company).cast_signed() * DAY_US,
            ),
            "Active" => payload.boolean(place, dice(9).is_multiple_of(2)),
            "Tags" => payload.list(
                place,
                TAGS.iter()
                    .enumerate()
                    .filter(|(at, _)| dice(10) >> at & 1 == 1)
                    .map(|(_, tag)| *tag),
            ),
            "Parent" if company > 1 && dice(11).is_multiple_of(4) => {
                payload.reference(
                    place,
                    &company_id(company - 1),
                    &format!("Company {}", company - 1),
                );
            }
            "Address" => payload.address(
                place,
                &Address {
                    city: "Basel",
                    country_code: "CH",
                    street: &format!("Weg {}", dice(12) % 200),
                    ..Address::default()
                },
            ),
            "Location" => payload.location(place, &format!("47.{}", dice(13) % 10_000), "7.5886"),
            "Notes" => payload.text(place, &"n".repeat(self.world.padding)),
            "Email" => payload.text(place, &format!("p{key}@company-{company}.example")),
            "Phone" => payload.text(place, &format!("+41 61 {:07}", dice(14) % 10_000_000)),
            "Stage" => payload.text(place, STAGES[(dice(15) % 4) as usize]),
            // A field of the setting `keys`.
            _ if kind == FieldType::Text
                && !OBJECTS[self.object as usize]
                    .3
                    .iter()
                    .any(|(key, _)| *key == field) =>
            {
                payload.text(place, &format!("value {}", company % 7));
            }
            _ => {}
        }
    }
}
