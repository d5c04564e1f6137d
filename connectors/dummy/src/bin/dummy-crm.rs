//! A CRM on loopback for the dummy connector: it issues and revokes tokens, and answers every request with a valid
//! token. The conformance kit runs the dummy against it. It prints its addresses, and exits when its standard input
//! is closed.
//!
//! | request | answer |
//! |---|---|
//! | `GET /approve?url=…&decision=allow\|deny` | the redirect of the browser: `{"redirectUrl":…}` |
//! | `POST /token` with `code`, `key` or `refresh` | `{"user","organization","generation"}`, or 400 |
//! | `POST /revoke` with `token` | 200, or 404 for an unknown token |
//! | `GET /data/<object>` with a bearer token | `{"ok":true}`, or 401 |
//! | `GET /writes` | `{"writes":n}`: the number of other requests |

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use tether_connector_sdk::http::Url;

/// The largest number of refreshes of one login.
const GENERATIONS: u64 = 1_000_000;

#[derive(Default)]
struct Crm {
    logins: u64,
    codes: HashSet<String>,
    /// Login and generation of valid tokens.
    live: HashMap<u64, u64>,
    writes: u64,
}

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let http = format!("http://{}", listener.local_addr()?);
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::json!({ "http": http, "control": http }))?;
    out.flush()?;
    let crm: Arc<Mutex<Crm>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let crm = Arc::clone(&crm);
            // The client handles broken connections.
            std::thread::spawn(move || drop(converse(&stream, &crm)));
        }
    });
    // The program exits together with its parent.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop)
}

fn converse(stream: &TcpStream, crm: &Mutex<Crm>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (mut length, mut token) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => token = value.trim().trim_start_matches("Bearer ").to_owned(),
                _ => {}
            }
        }
        let mut body = String::new();
        reader.by_ref().take(length).read_to_string(&mut body)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut crm = crm.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, answer) = crm.answer(method, target, &token, &body);
        drop(crm);
        write!(
            writer,
            "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

impl Crm {
    fn answer(&mut self, method: &str, target: &str, token: &str, body: &str) -> (u16, String) {
        let Ok(url) = Url::parse(&format!("http://crm{target}")) else {
            return (400, String::new());
        };
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let form = Url::parse(&format!("http://crm/?{body}"));
        let form: HashMap<String, String> = form
            .iter()
            .flat_map(|form| form.query_pairs().into_owned())
            .collect();
        let ok = |value: serde_json::Value| (200, value.to_string());
        match (method, url.path()) {
            ("GET", "/approve") => self.approve(&query).map_or((400, String::new()), ok),
            ("GET", "/writes") => ok(serde_json::json!({ "writes": self.writes })),
            ("GET", path) if path.starts_with("/data/") && self.is_good(token) => {
                (200, r#"{"ok":true}"#.to_owned())
            }
            ("GET", path) if path.starts_with("/data/") => (401, String::new()),
            ("POST", "/token") => self.token(&form).map_or((400, String::new()), ok),
            ("POST", "/revoke") => {
                let token = form.get("token").map_or("", String::as_str);
                let known = self.is_good(token);
                number(token).map(|number| self.live.remove(&(number / GENERATIONS)));
                (if known { 200 } else { 404 }, String::new())
            }
            _ => {
                self.writes += 1;
                (405, String::new())
            }
        }
    }

    fn approve(&mut self, query: &HashMap<String, String>) -> Option<serde_json::Value> {
        let asked = Url::parse(query.get("url")?).ok()?;
        let asked: HashMap<_, _> = asked.query_pairs().into_owned().collect();
        let mut to = Url::parse(asked.get("redirect_uri")?).ok()?;
        if query.get("decision").is_some_and(|decision| decision == "deny") {
            to.query_pairs_mut().append_pair("error", "access_denied");
        } else {
            self.logins += 1;
            let code = format!("code-{}-of-alice", self.logins);
            to.query_pairs_mut().append_pair("code", &code);
            self.codes.insert(code);
        }
        if let Some(state) = asked.get("state") {
            to.query_pairs_mut().append_pair("state", state);
        }
        Some(serde_json::json!({ "redirectUrl": to.as_str() }))
    }

    fn token(&mut self, form: &HashMap<String, String>) -> Option<serde_json::Value> {
        let (user, generation) = if let Some(old) = form.get("refresh") {
            let old = number(old).filter(|number| self.live.get(&(number / GENERATIONS)) == Some(number))?;
            ("alice".to_owned(), old + 1)
        } else {
            let user = match (form.get("code"), form.get("key")) {
                // A code can be used once.
                (Some(code), _) => self.codes.remove(code).then(|| "alice".to_owned())?,
                (None, Some(key)) => key
                    .split('-')
                    .next_back()
                    .filter(|user| !user.is_empty())?
                    .to_owned(),
                (None, None) => return None,
            };
            self.logins += 1;
            (user, self.logins * GENERATIONS)
        };
        self.live.insert(generation / GENERATIONS, generation);
        Some(serde_json::json!({ "user": user, "organization": "acme", "generation": generation }))
    }

    /// A refresh leaves older access tokens valid, as in most CRMs.
    fn is_good(&self, token: &str) -> bool {
        number(token).is_some_and(|number| {
            self.live
                .get(&(number / GENERATIONS))
                .is_some_and(|live| number <= *live)
        })
    }
}

/// The end of a token of the dummy: login and generation.
fn number(token: &str) -> Option<u64> {
    token.rsplit('.').next()?.parse().ok()
}
