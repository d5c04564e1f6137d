//! The least that a first load can cost: the same rows by Bulk with curl, and into tables with a primary key with the databases'
//! own programs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::world::{Sim, http_json};

/// What is read: an object and its fields.
pub(crate) type Selected<'a> = (&'a str, &'a [&'a str]);

/// Rows of a page.
const PAGE: usize = 50_000;

fn shell(script: &str) -> String {
    let done = Command::new("sh").args(["-c", script]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{script}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

struct Bulk {
    address: String,
    token: String,
}

impl Bulk {
    fn new(sim: &Sim) -> Self {
        let user = json!({ "user": "admin@acme.example" }).to_string();
        let token = http_json("POST", &format!("{}/oauth/token", sim.control), &user);
        let token = ["access_token", "accessToken", "token"]
            .iter()
            .find_map(|key| token[*key].as_str())
            .unwrap_or_else(|| panic!("no token: {token}"));
        Self {
            address: format!("http://{}/services/data/v62.0/jobs/query", sim.host),
            token: token.to_owned(),
        }
    }

    fn curl(&self, path: &str) -> String {
        let (address, token) = (&self.address, &self.token);
        format!("curl -sS -f -H 'Authorization: Bearer {token}' '{address}{path}'")
    }

    /// Reads an object with a job; each page goes through `into`, a shell command.
    fn read(&self, (object, fields): Selected<'_>, into: &str) {
        let soql = format!("SELECT Id,{} FROM {object}", fields.join(","));
        let job = json!({ "operation": "query", "query": soql }).to_string();
        let create = format!("{} -H 'Content-Type: application/json' -d '{job}'", self.curl(""));
        let job: Json = serde_json::from_str(&shell(&create)).unwrap();
        let id = job["id"].as_str().unwrap();
        loop {
            let job: Json = serde_json::from_str(&shell(&self.curl(&format!("/{id}")))).unwrap();
            match job["state"].as_str().unwrap() {
                "JobComplete" => break,
                "UploadComplete" | "InProgress" => std::thread::sleep(Duration::from_millis(20)),
                state => panic!("{state}: {job}"),
            }
        }
        let head = tempfile::NamedTempFile::new().unwrap();
        let mut locator = String::new();
        loop {
            let page = self.curl(&format!("/{id}/results?maxRecords={PAGE}{locator}"));
            shell(&format!("{page} -D '{}' | {into}", head.path().display()));
            let text = std::fs::read_to_string(head.path()).unwrap();
            const NAME: &str = "sforce-locator:";
            let line = text.lines().find(|line| line.to_lowercase().starts_with(NAME));
            match line.map(|line| line[NAME.len()..].trim()) {
                None | Some("" | "null") => return,
                Some(next) => locator = format!("&locator={next}"),
            }
        }
    }
}

fn columns(fields: &[&str]) -> String {
    let text = |field: &&str| format!("{field} TEXT");
    let columns: Vec<String> = fields.iter().map(text).collect();
    format!("(Id TEXT PRIMARY KEY, {})", columns.join(", "))
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// Only the download.
pub(crate) fn download(sim: &Sim, selected: &[Selected<'_>]) -> f64 {
    let bulk = Bulk::new(sim);
    seconds(|| {
        for one in selected {
            bulk.read(*one, "cat > /dev/null");
        }
    })
}

/// The download, and `sqlite3 .import` into keyed tables with the settings that tether has.
pub(crate) fn sqlite(sim: &Sim, selected: &[Selected<'_>], folder: &Path) -> f64 {
    let (bulk, file) = (Bulk::new(sim), folder.join("floor.db").display().to_string());
    for (object, fields) in selected {
        let table = format!("CREATE TABLE {object} {};", columns(fields));
        shell(&format!(
            "sqlite3 '{file}' 'PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; {table}'"
        ));
    }
    seconds(|| {
        for one in selected {
            let object = one.0;
            let into = format!(
                "sqlite3 -csv '{file}' 'PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;' \
                 '.import --skip 1 /dev/stdin {object}'"
            );
            bulk.read(*one, &into);
        }
    })
}

/// The download, and `COPY` into keyed tables.
pub(crate) fn postgres(sim: &Sim, selected: &[Selected<'_>], url: &str) -> f64 {
    let bulk = Bulk::new(sim);
    for (object, fields) in selected {
        let table = format!("CREATE TABLE floor_{object} {}", columns(fields));
        shell(&format!("psql -q '{url}' -c '{table}'"));
    }
    let taken = seconds(|| {
        for one in selected {
            let into = format!(
                "psql -q '{url}' -c 'COPY floor_{} FROM STDIN WITH (FORMAT csv, HEADER)'",
                one.0
            );
            bulk.read(*one, &into);
        }
    });
    for (object, _) in selected {
        shell(&format!("psql -q '{url}' -c 'DROP TABLE floor_{object}'"));
    }
    taken
}
