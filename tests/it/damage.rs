//! A damaged search index: however its files are changed, while a server runs or between two servers,
//! searches return correct results or INDEX_NOT_READY, the index is rebuilt automatically, and the other
//! integration is served meanwhile.
//!
//! `TETHER_DAMAGE_COUNT` is the number of damages, `TETHER_DAMAGE_SEED` the seed that chooses them; the index
//! of another integration of the same account, which is never damaged, provides the expected results.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tether::proto::v1::{self, source::IndexState};
use tonic::Code;

use crate::support::server::{Database, Person, Refused, World, ok, until};

const FIELDS: &[&str] = &[
    "Account.Name",
    "Account.Industry",
    "Account.NumberOfEmployees",
    "Opportunity.StageName",
    "Opportunity.Amount",
];

/// The integration whose index is damaged, and the one whose index is not, each with its label.
const DAMAGED: (&str, &str) = ("Sales", "sales");
const SOUND: (&str, &str) = ("Support", "support");

/// Filter, words and order of a search; `{}` stands for the label.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("source = {}", "", ""),
    (
        "{}.Account.NumberOfEmployees > 1000",
        "",
        "{}.Account.NumberOfEmployees desc",
    ),
    ("{}.Account.Industry:*", "", "{}.Account.Industry, display_name"),
    ("{}.Opportunity(Amount > 1000)", "", ""),
    ("NOT {}.Opportunity.StageName:*", "", ""),
    ("", "a", ""),
];

/// The result of a search: the companies in order, and their number.
type Found = (Vec<String>, Option<i64>);

async fn ask(of: &mut Person, integration: &str, label: &str, question: usize) -> Result<Found, Refused> {
    let (filter, query, order_by) = QUESTIONS[question];
    let request = v1::ListCompaniesRequest {
        parent: of.parent.clone(),
        sources: vec![integration.to_owned()],
        filter: filter.replace("{}", label),
        query: query.to_owned(),
        order_by: order_by.replace("{}", label),
        page_size: 1_000,
        show_total_size: true,
        ..Default::default()
    };
    match of.companies.list_companies(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            let names = answer.companies.into_iter().map(|company| company.name);
            Ok((names.collect(), answer.total_size))
        }
        Err(status) => Err(status.into()),
    }
}

/// Two integrations of one account with the same fields, and their indexes up to date.
struct Pair {
    world: World,
    ann: Person,
    damaged: String,
    sound: String,
    accounts: Vec<Json>,
}

impl Pair {
    async fn start(accounts: u32) -> Self {
        let world = World::start(Database::Sqlite, accounts).await;
        let mut ann = world.ann().await;
        ann.enable("salesforce").await;
        let damaged = ann.salesforce(DAMAGED.0, FIELDS).await;
        let sound = ann.salesforce(SOUND.0, FIELDS).await;
        let accounts = world.truth("Account", "Id").await;
        let mut this = Self {
            world,
            ann,
            damaged,
            sound,
            accounts,
        };
        this.catch_up().await;
        let mut all = 0;
        for question in 0..QUESTIONS.len() {
            all += this.right(question).await.0.len();
        }
        assert!(all > QUESTIONS.len(), "the questions find something");
        this
    }

    /// Syncs both, and waits until the data is searchable.
    async fn catch_up(&mut self) {
        for name in [self.damaged.clone(), self.sound.clone()] {
            let sync = self.ann.sync(&name).await;
            let change_number = self.ann.succeeds(&sync).await.change_number;
            self.reaches(&name, change_number).await;
        }
    }

    async fn reaches(&mut self, integration: &str, change_number: i64) {
        let (ann, world) = (&self.ann, &self.world);
        until("the index comes so far", async || {
            let request = v1::ListCompaniesRequest {
                parent: ann.parent.clone(),
                at_least: vec![v1::SourcePosition {
                    integration: integration.to_owned(),
                    change_number,
                    time: None,
                }],
                ..Default::default()
            };
            match ann.clone().companies.list_companies(request).await {
                Ok(_) => true,
                Err(status) => {
                    let no = Refused::from(status);
                    assert_eq!(no.reason, "INDEX_NOT_READY", "{no:?}\n{}", world.log());
                    false
                }
            }
        })
        .await;
    }

    /// Changes some accounts in the CRM, so that the index has several segments and deleted documents.
    async fn change(&mut self, dice: &mut StdRng) {
        for _ in 0..5 {
            let account = self.accounts.choose(dice).unwrap();
            let fields = json!({"NumberOfEmployees": dice.random_range(1..2_000)});
            let body = json!({"object": "Account", "id": account["Id"], "fields": fields});
            self.world.control("POST", "/records/update", body).await;
        }
        self.catch_up().await;
    }

    /// The expected result: from the index that is not damaged. It must always answer.
    async fn right(&mut self, question: usize) -> Found {
        ask(&mut self.ann, &self.sound, SOUND.1, question)
            .await
            .unwrap_or_else(|no| panic!("the other integration is not served: {no:?}"))
    }

    /// Runs all searches on the damaged index; returns whether all were answered. Every answer must be
    /// correct.
    async fn answers(&mut self, after: &str) -> bool {
        let mut all = true;
        for question in 0..QUESTIONS.len() {
            let right = self.right(question).await;
            match ask(&mut self.ann, &self.damaged, DAMAGED.1, question).await {
                Ok(found) => assert_eq!(found, right, "after {after}: question {question}"),
                Err(no) => {
                    let (code, reason) = (no.code, no.reason.as_str());
                    assert_eq!(
                        (code, reason),
                        (Code::Unavailable, "INDEX_NOT_READY"),
                        "after {after}: {no:?}"
                    );
                    assert!(no.details.retry_info().is_some(), "{no:?}");
                    all = false;
                }
            }
        }
        all
    }

    async fn heals(&mut self, after: &str) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !self.answers(after).await {
            assert!(std::time::Instant::now() < end, "never healed after {after}");
        }
    }

    /// The states of the damaged index and of the other one, and the number of companies of each source.
    async fn sources(&mut self) -> [(IndexState, i64); 2] {
        let request = v1::ListSourcesRequest {
            parent: self.ann.parent.clone(),
            ..Default::default()
        };
        let sources = ok(self.ann.companies.list_sources(request)).await.sources;
        [&self.damaged, &self.sound].map(|name| {
            let found = sources.iter().find(|source| source.integration == *name);
            let source = found.expect("each source is listed");
            (source.index_state(), source.company_count)
        })
    }

    fn folder(&self) -> PathBuf {
        let id = self.damaged.rsplit('/').next().unwrap();
        self.world.data().join("index").join(id)
    }

    /// How many times an index has been built.
    fn builds(&self) -> usize {
        let log = self.world.log();
        log.lines()
            .filter(|line| line.contains("is built from the database"))
            .count()
    }
}

/// The files of an index.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

const DAMAGES: &[&str] = &[
    "flipped bits",
    "cut",
    "deleted",
    "zeroed page",
    "swapped",
    "empty meta",
    "garbage meta",
    "wrong change number",
    "appended",
];

/// Damages the folder; returns a description, and whether the damage must be detected.
fn damage(folder: &Path, dice: &mut StdRng) -> (String, bool) {
    let all = files(folder);
    let of = |name: &str| folder.join(name);
    let kind = *DAMAGES.choose(dice).unwrap();
    let path = match kind {
        "empty meta" | "garbage meta" | "wrong change number" => of("manifest"),
        _ => all.choose(dice).unwrap().clone(),
    };
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let before = std::fs::read(&path).unwrap();
    let mut after = before.clone();
    match kind {
        "flipped bits" => {
            for _ in 0..dice.random_range(1..9) {
                let at = dice.random_range(0..after.len());
                after[at] ^= 1 << dice.random_range(0..8);
            }
        }
        "cut" => after.truncate(dice.random_range(0..before.len())),
        "zeroed page" => {
            let at = dice.random_range(0..before.len()) & !4_095;
            let end = before.len().min(at + 4_096);
            after[at..end].fill(0);
        }
        "empty meta" => after.clear(),
        "garbage meta" => dice.fill(&mut after[..]),
        "wrong change number" => {
            let mark = b"\"change_no\":";
            let at = before.windows(mark.len()).position(|part| part == mark).unwrap() + mark.len();
            after[at] = if before[at] == b'1' { b'2' } else { b'1' };
        }
        "appended" => after.extend([0; 7]),
        "deleted" => {
            std::fs::remove_file(&path).unwrap();
            return (format!("{name}: {kind}"), true);
        }
        "swapped" => {
            let others: Vec<&PathBuf> = all.iter().filter(|other| **other != path).collect();
            let other = *others.choose(dice).unwrap();
            std::fs::rename(&path, of("swap")).unwrap();
            std::fs::rename(other, &path).unwrap();
            std::fs::rename(of("swap"), other).unwrap();
            return (format!("{name}: {kind} with {}", other.display()), true);
        }
        _ => unreachable!(),
    }
    if after == before {
        after[0] ^= 1;
    }
    // Written into the same file, as a failing disk would: a server that has mapped it sees the change.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(after.len() as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &after, 0).unwrap();
    (format!("{name}: {kind}"), true)
}

#[tokio::test]
async fn any_damage_heals() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed) = (number("TETHER_DAMAGE_COUNT", 12), number("TETHER_DAMAGE_SEED", 1));
    let mut dice = StdRng::seed_from_u64(seed);
    let mut pair = Pair::start(120).await;
    let folder = pair.folder();
    for at in 0..count {
        if at % 3 == 0 {
            pair.change(&mut dice).await;
        }
        let running = dice.random_bool(0.5);
        let before = pair.builds();
        if !running {
            pair.world.terminate().await;
        }
        let (done, noticed) = damage(&folder, &mut dice);
        if !running {
            pair.world.start_again().await;
            pair.ann = pair.world.ann().await;
            // The other index is opened, too.
            let sound = pair.sound.clone();
            pair.reaches(&sound, 0).await;
        }
        let when = if running {
            "under a running server"
        } else {
            "between two servers"
        };
        let after = format!("damage {at} of seed {seed} ({done}, {when})");
        pair.heals(&after).await;
        if noticed {
            let pair = &pair;
            until(&format!("built again after {after}"), async || {
                pair.builds() > before
            })
            .await;
        }
        println!("{after}: healed");
    }
    // The rebuilt index is complete: another server returns the same results from it, and builds nothing.
    let before = pair.builds();
    pair.world.terminate().await;
    pair.world.start_again().await;
    pair.ann = pair.world.ann().await;
    let (damaged, sound) = (pair.damaged.clone(), pair.sound.clone());
    pair.reaches(&sound, 0).await;
    pair.reaches(&damaged, 0).await;
    assert!(pair.answers("the last restart").await);
    assert_eq!(pair.builds(), before);
}

/// A list of sources shows each of them, in any state of its index; a damaged index that it finds is rebuilt.
#[tokio::test]
async fn a_damaged_index_is_listed_and_built_again() {
    let mut pair = Pair::start(30).await;
    let [(state, count), sound] = pair.sources().await;
    assert_eq!((state, sound), (IndexState::Ready, (IndexState::Ready, count)));
    assert!(count > 0);
    let before = pair.builds();
    let meta = pair.folder().join("manifest");
    std::fs::write(&meta, "garbage").unwrap();
    // No search has found the damage before.
    let [(state, _), other] = pair.sources().await;
    assert_eq!((state, other), (IndexState::Building, sound));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while pair.sources().await != [sound, sound] {
        assert!(std::time::Instant::now() < end, "never built again");
    }
    assert!(pair.builds() > before);
}

/// An error of the operating system is not damage: nothing is deleted, and the index is used again after the
/// error has ended.
#[tokio::test]
async fn what_cannot_be_opened_is_kept() {
    let mut pair = Pair::start(30).await;
    let folder = pair.folder();
    let meta = folder.join("manifest");
    let before = pair.builds();

    // A link to itself cannot be opened, even by root.
    std::fs::rename(&meta, folder.join("kept")).unwrap();
    std::os::unix::fs::symlink("manifest", &meta).unwrap();
    assert!(!pair.answers("a refused file").await);
    let [(state, _), (other, _)] = pair.sources().await;
    assert_eq!((state, other), (IndexState::Unreadable, IndexState::Ready));
    let kept = files(&folder);
    let log = pair.world.log();
    let log_ends = log.len();
    // New data cannot be indexed either; the log has the cause, and that no data is lost.
    let sync = pair.ann.sync(&pair.damaged.clone()).await;
    pair.ann.succeeds(&sync).await;
    let body =
        json!({"object": "Account", "id": pair.accounts[0]["Id"], "fields": {"NumberOfEmployees": 77}});
    pair.world.control("POST", "/records/update", body).await;
    let sync = pair.ann.sync(&pair.damaged.clone()).await;
    pair.ann.succeeds(&sync).await;
    let world = &pair.world;
    until("the log says so", async || {
        world.log()[log_ends..].contains("Nothing is deleted")
    })
    .await;
    assert_eq!(files(&folder), kept);
    std::fs::remove_file(&meta).unwrap();
    std::fs::rename(folder.join("kept"), &meta).unwrap();
    pair.catch_up().await;
    pair.heals("a refused file").await;

    // No descriptor is left: open indexes still answer.
    let limit = |of: &str| {
        let pid = pair.world.pid().to_string();
        let set = std::process::Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={of}:")])
            .status();
        assert!(set.unwrap().success());
    };
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pair.world.pid())).unwrap();
    let files_line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let usual = files_line.split_whitespace().nth(3).unwrap().to_owned();
    limit("4");
    for question in 0..QUESTIONS.len() {
        let right = ask(&mut pair.ann, &pair.sound, SOUND.1, question).await;
        let found = ask(&mut pair.ann, &pair.damaged, DAMAGED.1, question).await;
        assert_eq!(found.unwrap(), right.unwrap());
    }
    limit(&usual);
    pair.heals("no descriptor").await;
    assert_eq!(pair.builds(), before);
    let request = v1::GetIntegrationRequest {
        name: pair.damaged.clone(),
    };
    ok(pair.ann.integrations.get_integration(request)).await;
}
