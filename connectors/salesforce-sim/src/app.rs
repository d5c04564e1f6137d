//! The simulator's state, shared by all its routes.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use sim_kit::Simulator;
use sim_kit::faults::Fault;
use sim_kit::journal::Journal;

use crate::bulk::jobs::Jobs;
use crate::clock::Clock;
use crate::damage::Damage;
use crate::hosts::Left;
use crate::ids;
use crate::journal::Entry;
use crate::oauth::store::{Client, OAuth};
use crate::org::{Counts, Org, User};
use crate::rest::answers::Answers;
use crate::rest::cursors::Cursors;
use crate::schema::Hidden;
use crate::transactions::Transactions;

/// The options of a simulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port to listen on; 0 selects a free one.
    pub port: u16,
    /// The port of the TLS listener, if there is one.
    pub tls_port: Option<u16>,
    /// The folder for the certificate authority; a temporary folder by default.
    pub tls_dir: Option<std::path::PathBuf>,
    /// The seed of all generated data.
    pub seed: u64,
    /// Whether values are like those of a real CRM, for demos; otherwise many values are edge cases.
    pub realistic: bool,
    /// Rows of the first org.
    pub counts: Counts,
    /// Rows of the second org (`Globex`, a sandbox with the same record ids).
    pub second: Counts,
    /// The consumer key of the registered app.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Its public key (PEM) for the JWT bearer flow.
    pub jwt_public_key: Option<String>,
    /// Whether refresh tokens are single use.
    pub rotation: bool,
    /// Whether a refresh ends the earlier access tokens.
    pub end_sessions: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            port: 0,
            tls_port: None,
            tls_dir: None,
            seed: 1,
            realistic: false,
            counts: related(1000),
            second: related(100),
            client_id: "3MVG9tether.demo".to_owned(),
            client_secret: "tether-demo-secret".to_owned(),
            jwt_public_key: None,
            rotation: false,
            end_sessions: false,
        }
    }
}

/// The default numbers: one contact and one opportunity per account, one contract and one case per two accounts.
pub fn related(accounts: u32) -> Counts {
    let half = accounts / 2;
    Counts {
        accounts,
        contacts: accounts,
        opportunities: accounts,
        contracts: half,
        cases: half,
        skew: 0,
    }
}

/// The simulator's state.
pub(crate) struct App {
    pub(crate) orgs: Vec<RwLock<Org>>,
    pub(crate) oauth: Mutex<OAuth>,
    pub(crate) cursors: Mutex<Cursors>,
    pub(crate) journal: Mutex<Journal<Entry>>,
    pub(crate) faults: Mutex<Vec<Fault>>,
    /// The duration of a refresh, long enough for a second one to overlap.
    pub(crate) token_delay_ms: Mutex<u64>,
    /// Overrides of replies to queries and describes, by organization and object.
    pub(crate) answers: Mutex<Answers>,
    /// Orders for pages of results.
    pub(crate) damage: Mutex<Vec<Damage>>,
    /// The jobs of Bulk.
    pub(crate) jobs: Mutex<Jobs>,
    /// The host that no longer serves data.
    pub(crate) left: Mutex<Option<Left>>,
    /// Salesforce's clock.
    pub(crate) clock: Mutex<Clock>,
    /// Changes that are not committed.
    pub(crate) transactions: Mutex<Transactions>,
}

/// The user of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UserKey {
    pub(crate) org: usize,
    pub(crate) user: u32,
}

impl App {
    pub(crate) fn new(options: &Options) -> Arc<App> {
        let mut acme = Org::new(0, "Acme", options.seed, options.counts, acme_users());
        let mut globex = Org::new(
            1,
            "Globex",
            options.seed ^ 0x0061_0be0,
            options.second,
            globex_users(),
        );
        for org in [&mut acme, &mut globex] {
            org.realistic = options.realistic;
        }
        let client = Client {
            id: options.client_id.clone(),
            secret: options.client_secret.clone(),
            redirect_uris: Vec::new(),
            public_key: options.jwt_public_key.clone(),
            run_as: UserKey { org: 0, user: 0 },
            installed: true,
        };
        Arc::new(App {
            orgs: vec![RwLock::new(acme), RwLock::new(globex)],
            oauth: Mutex::new(OAuth::new(client, options.rotation, options.end_sessions)),
            cursors: Mutex::default(),
            journal: Mutex::default(),
            faults: Mutex::default(),
            token_delay_ms: Mutex::default(),
            answers: Mutex::default(),
            damage: Mutex::default(),
            jobs: Mutex::default(),
            left: Mutex::default(),
            clock: Mutex::default(),
            transactions: Mutex::default(),
        })
    }

    /// Salesforce's time, in unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.clock.lock().now()
    }

    /// The user of that name, in any org.
    pub(crate) fn find_user(&self, username: &str) -> Option<UserKey> {
        self.orgs.iter().enumerate().find_map(|(org, o)| {
            let o = o.read();
            let user = o
                .users
                .iter()
                .find(|u| u.username.eq_ignore_ascii_case(username))?;
            Some(UserKey { org, user: user.row })
        })
    }

    /// Organization and user id of a user.
    pub(crate) fn ids_of(&self, key: UserKey) -> (String, String) {
        (self.orgs[key.org].read().id(), ids::text("005", key.user))
    }
}

impl Simulator for App {
    type Entry = Entry;

    fn faults(&self) -> &Mutex<Vec<Fault>> {
        &self.faults
    }

    fn journal(&self) -> &Mutex<Journal<Entry>> {
        &self.journal
    }

    fn refusal(code: &str, message: Option<&str>) -> Option<(u16, String)> {
        crate::refusals::reply(code, message)
    }
}

fn user(row: u32, username: &str, first: &str, last: &str) -> User {
    User {
        row,
        username: username.to_owned(),
        first_name: first.to_owned(),
        last_name: last.to_owned(),
        active: true,
        api_enabled: true,
        hidden: Hidden::default(),
        unshared: Arc::default(),
    }
}

fn acme_users() -> Vec<User> {
    let mut restricted = user(1, "restricted@acme.example", "Rex", "Stricted");
    restricted.hidden.objects.insert("contract".to_owned());
    let fields = [
        (
            "account",
            vec![
                "annualrevenue",
                "arr__c",
                "internal_notes__c",
                "revenue_per_employee__c",
                "tax_number__c",
            ],
        ),
        ("contact", vec!["birthdate", "homephone"]),
        ("opportunity", vec!["amount", "expectedrevenue"]),
    ];
    for (object, names) in fields {
        let names = names.into_iter().map(str::to_owned).collect();
        restricted.hidden.fields.insert(object.to_owned(), names);
    }
    vec![user(0, "admin@acme.example", "Ada", "Min"), restricted]
}

/// A sandbox copy keeps the user ids too.
fn globex_users() -> Vec<User> {
    vec![user(0, "admin@globex.example", "Gloria", "Bex")]
}
