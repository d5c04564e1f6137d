//! One organization: its schema, its users, its rows.
//!
//! Rows are generated from the seed ([`make`]); changes of the control routes are stored on top of them ([`table`],
//! [`change`]).

pub(crate) mod change;
pub(crate) mod formula;
pub(crate) mod make;
mod named;
mod realistic;
pub(crate) mod table;
mod words;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids;
use crate::schema::{Field, Hidden, Schema};
use crate::value::Value;
use make::{Maker, mix};
pub(crate) use table::Table;

/// Table numbers are positions in [`Schema::objects`].
pub(crate) const ACCOUNT: usize = 0;
pub(crate) const USER: usize = 5;
const ORGANIZATION: usize = 7;

/// The address of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) table: usize,
    pub(crate) row: u32,
}

/// The initial numbers of live rows of an org.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Accounts.
    pub accounts: u32,
    /// Contacts.
    pub contacts: u32,
    /// Opportunities.
    pub opportunities: u32,
    /// Contracts.
    pub contracts: u32,
    /// Cases.
    pub cases: u32,
    /// Additional contacts of the first account.
    pub skew: u32,
}

/// A user who can log in.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) row: u32,
    pub(crate) username: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) active: bool,
    /// Without it, every data call is refused.
    pub(crate) api_enabled: bool,
    pub(crate) hidden: Hidden,
    /// Rows that are not shared with the user.
    pub(crate) unshared: Arc<HashSet<Row>>,
}

/// One organization. A copy is cheap: what is large is shared until one of the two changes.
#[derive(Clone)]
pub(crate) struct Org {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) sandbox: bool,
    pub(crate) active: bool,
    pub(crate) seed: u64,
    /// Values like those of a real CRM, instead of edge cases.
    pub(crate) realistic: bool,
    pub(crate) schema: Arc<Schema>,
    /// The time when fields were last added or removed: the `Last-Modified` of every describe.
    pub(crate) schema_changed: i64,
    pub(crate) users: Vec<User>,
    pub(crate) tables: Vec<Table>,
    /// The days after which the recycle bin loses a row, if that is switched on.
    pub(crate) bin_days: Option<i64>,
    pub(crate) api_max: u64,
    /// Atomic, so that no request waits for a long query of another.
    pub(crate) api_used: Arc<AtomicU64>,
    /// The allowance of the app alone: name, used calls, maximum.
    pub(crate) app_limit: Option<(String, u64, u64)>,
}

impl Org {
    pub(crate) fn new(number: u32, name: &str, seed: u64, counts: Counts, users: Vec<User>) -> Org {
        let schema = Schema::standard();
        let staff = users.len() as u32 + 8;
        let tables = schema
            .objects
            .iter()
            .map(|o| match o.name {
                "Account" => Table::generated_with_deleted(counts.accounts, 0),
                "Contact" => Table::generated_with_deleted(counts.contacts, counts.skew),
                "Opportunity" => Table::generated_with_deleted(counts.opportunities, 0),
                "Contract" => Table::generated_with_deleted(counts.contracts, 0),
                "Case" => Table::generated_with_deleted(counts.cases, 0),
                "User" => Table::plain(0, staff),
                "Group" => Table::plain(0, 3),
                "Organization" => Table::plain(number, 1),
                _ => Table::plain(0, 2),
            })
            .collect();
        Org {
            number,
            name: name.to_owned(),
            sandbox: number > 0,
            active: true,
            seed,
            realistic: false,
            schema: Arc::new(schema),
            schema_changed: 1_672_531_200,
            users,
            tables,
            bin_days: None,
            api_max: 100_000,
            api_used: Arc::default(),
            app_limit: None,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.api_used.load(Ordering::Relaxed)
    }

    /// The value of `Sforce-Limit-Info`.
    pub(crate) fn usage(&self) -> String {
        let usage = format!("api-usage={}/{}", self.used(), self.api_max);
        match &self.app_limit {
            Some((name, used, max)) => format!("{usage}; per-app-api-usage={used}/{max}(appName={name})"),
            None => usage,
        }
    }

    /// Counts one call; false if the daily allowance is used up.
    pub(crate) fn count_call(&self) -> bool {
        let within = |used| (used < self.api_max).then_some(used + 1);
        self.api_used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .is_ok()
    }

    pub(crate) fn id(&self) -> String {
        ids::text("00D", self.number)
    }

    pub(crate) fn hash(&self, at: Row, salt: u64) -> u64 {
        mix(self.seed
            ^ mix(salt ^ (at.table as u64) << 56 ^ u64::from(at.row).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The row of an id, whether or not it exists.
    pub(crate) fn locate(&self, id: &str) -> Option<Row> {
        let (table, object) = self.schema.by_prefix(id.get(..3)?)?;
        Some(Row {
            table,
            row: ids::decode(object.prefix, id)?,
        })
    }

    /// The value of one cell.
    pub(crate) fn cell(&self, at: Row, field: &Field) -> Value {
        let table = &self.tables[at.table];
        let Some(change) = table.change(at.row) else {
            return make::make(self, at, field);
        };
        if let Some(value) = change.values.get(&field.key) {
            return value.clone();
        }
        match &field.maker {
            Maker::Deleted => Value::Bool(table.deleted(at.row)),
            Maker::Stamp | Maker::Modified => match change.stamp {
                Some(stamp) => Value::Instant(stamp),
                None => make::make(self, at, field),
            },
            Maker::Created if change.created => change.created_at.map_or(Value::Null, Value::Instant),
            Maker::Id | Maker::Formula(_) | Maker::Address(_) | Maker::Location(_) => {
                make::make(self, at, field)
            }
            Maker::Word("fullname" | "autonumber") => make::make(self, at, field),
            _ if !change.created => make::make(self, at, field),
            Maker::Owner | Maker::QueueOrOwner => Value::Id("005", 0),
            _ if field.kind == "boolean" => Value::Bool(false),
            _ => field
                .picks
                .iter()
                .find(|p| p.default)
                .map_or(Value::Null, |p| Value::text(p.value)),
        }
    }

    pub(crate) fn cell_named(&self, at: Row, name: &str) -> Value {
        self.schema.objects[at.table]
            .field(name)
            .map_or(Value::Null, |f| self.cell(at, f))
    }

    /// Follows a reference to an existing row.
    pub(crate) fn follow(&self, value: &Value) -> Option<Row> {
        let at = match value {
            Value::Id(prefix, row) => Row {
                table: self.schema.by_prefix(prefix)?.0,
                row: *row,
            },
            Value::Text(id) => self.locate(id)?,
            _ => return None,
        };
        self.tables[at.table].exists(at.row).then_some(at)
    }

    pub(crate) fn user(&self, row: u32) -> Option<&User> {
        self.users.iter().find(|u| u.row == row)
    }

    /// The reference to a row's account: the field and its parent table.
    pub(crate) fn account_field(&self, table: usize) -> Option<&Field> {
        self.schema.objects[table]
            .fields
            .iter()
            .find(|f| f.maker == Maker::Account)
    }

    /// Live and deleted rows of a table that belong to an account, ordered by id.
    pub(crate) fn rows_of_account(&self, table: usize, account: u32) -> Vec<u32> {
        let Some(field) = self.account_field(table) else {
            return Vec::new();
        };
        let rows = &self.tables[table];
        let index = rows.account_index(|row| make::account_of(self, Row { table, row }, field.nillable));
        let mut found: Vec<u32> = index
            .rows(account)
            .iter()
            .copied()
            .filter(|row| !rows.account_changed(*row))
            .collect();
        found.extend(rows.moved_to(account));
        found.retain(|row| rows.exists(*row));
        found.sort_unstable();
        found
    }
}

/// Values of the lookup objects.
fn lookup_word(org: &Org, at: Row, word: &str) -> Value {
    let user = org.user(at.row);
    match word {
        "username" => match user {
            Some(user) => Value::text(user.username.clone()),
            None => Value::text(format!("staff-{}@{}.example", at.row, org.name.to_lowercase())),
        },
        "userfirst" => match user {
            Some(user) => Value::text(user.first_name.clone()),
            None => Value::text(words::FIRST[at.row as usize % 24]),
        },
        "userlast" => match user {
            Some(user) => Value::text(user.last_name.clone()),
            None => Value::text(words::LAST[at.row as usize * 5 % 24]),
        },
        "alias" => Value::text(format!("u{:03}", at.row)),
        "standard" => Value::text("Standard"),
        "queue" => Value::text(["Support", "Billing", "Escalations"][at.row as usize % 3]),
        "queuetype" => Value::text("Queue"),
        "orgname" => Value::text(org.name.clone()),
        "instance" => Value::text("SIM1"),
        "sandbox" => Value::Bool(org.sandbox),
        "edition" => Value::text(if org.sandbox {
            "Developer Edition"
        } else {
            "Enterprise Edition"
        }),
        "accountword" => Value::text("Account"),
        "recordtypename" => Value::text(["Business", "Partner"][at.row as usize % 2]),
        _ => Value::Null,
    }
}

const _: () = assert!(ORGANIZATION == 7);
