//! The state shared by all requests.

use std::sync::Arc;

use parking_lot::Mutex;
use sim_kit::Simulator;
use sim_kit::faults::Fault;
use sim_kit::journal::Journal;

use crate::journal::Entry;
use crate::limits::Limits;
use crate::oauth::store::{Client, OAuth, PrivateApp};
use crate::portal::{Portal, User};

/// The token of Acme's initial private app.
pub const PRIVATE_APP_TOKEN: &str = "pat-na1-11111111-2222-4333-8444-555555555555";

/// The options of a simulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// 0 selects a free port.
    pub port: u16,
    /// Live companies of the first portal.
    pub companies: u32,
    /// Live companies of the second portal.
    pub second_companies: u32,
    /// The seed of all generated data.
    pub seed: u64,
    /// Whether texts look like those of a real CRM, for demos.
    pub realistic: bool,
    /// The registered app.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Requests of an app to a portal in ten seconds.
    pub burst: u32,
    /// Searches per second.
    pub searches: u32,
}

pub(crate) struct App {
    pub(crate) portals: Mutex<Vec<Portal>>,
    pub(crate) oauth: Mutex<OAuth>,
    pub(crate) limits: Mutex<Limits>,
    pub(crate) journal: Mutex<Journal<Entry>>,
    pub(crate) faults: Mutex<Vec<Fault>>,
}

impl App {
    pub(crate) fn new(options: &Options) -> Arc<App> {
        let mut acme = Portal::new(
            62_515,
            "acme.example",
            options.seed,
            options.companies,
            vec![
                user(1_001, "admin@acme.example", true),
                user(1_002, "restricted@acme.example", false),
            ],
        );
        let mut globex = Portal::new(
            98_765,
            "globex.example",
            options.seed ^ 0x0061_0be0,
            options.second_companies,
            vec![user(2_001, "admin@globex.example", true)],
        );
        for portal in [&mut acme, &mut globex] {
            portal.realistic = options.realistic;
        }
        let mut oauth = OAuth::new(Client {
            id: options.client_id.clone(),
            secret: options.client_secret.clone(),
            app_id: 456_789,
            redirect_uris: Vec::new(),
        });
        oauth.private_apps.push(PrivateApp {
            token: PRIVATE_APP_TOKEN.to_owned(),
            hub_id: acme.id,
            user_id: 1_001,
            app_id: 777_001,
            scopes: crate::oauth::READ_SCOPES.map(str::to_owned).to_vec(),
        });
        Arc::new(App {
            portals: Mutex::new(vec![acme, globex]),
            oauth: Mutex::new(oauth),
            limits: Mutex::new(Limits::new(options.burst, options.searches)),
            journal: Mutex::default(),
            faults: Mutex::default(),
        })
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
}

fn user(id: u64, email: &str, tickets: bool) -> User {
    User {
        id,
        email: email.to_owned(),
        may_grant_tickets: tickets,
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    (time::UtcDateTime::now().unix_timestamp_nanos() / 1_000_000) as i64
}

/// A time in HubSpot's format: `2026-01-31T09:30:00.125Z`, with the fraction only if it is not zero.
pub(crate) fn iso(ms: i64) -> String {
    let at = time::UtcDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(time::UtcDateTime::UNIX_EPOCH);
    let (date, hour, minute, second) = (at.date(), at.hour(), at.minute(), at.second());
    let fraction = match at.millisecond() {
        0 => String::new(),
        ms => format!(".{ms:03}"),
    };
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}
