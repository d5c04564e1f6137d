//! The conformance kit as a command: good connectors pass all checks, and each check finds its defect.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value as Json;
use tokio::process::Command;

use crate::support::connectors;

/// The results of the checks: by isolation and id, `passed`, `failed` or `not_applicable`, with the evidence.
type Outcomes = BTreeMap<(String, String), (String, String)>;

/// Runs `tether connectors check --json`; returns whether it succeeded, and the results.
async fn check(folder: &Path, arguments: &[&str]) -> (bool, Outcomes) {
    let output = Command::new(env!("CARGO_BIN_EXE_tether"))
        .args(["connectors", "check", "--json"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Json = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("no report: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let mut outcomes = Outcomes::new();
    for run in report["runs"].as_array().unwrap() {
        for check in run["checks"].as_array().unwrap() {
            let key = (
                run["isolation"].as_str().unwrap().to_owned(),
                check["id"].as_str().unwrap().to_owned(),
            );
            let seen = ["seen", "findings", "reason"]
                .map(|name| check[name].to_string())
                .join(" ");
            outcomes.insert(key, (check["outcome"].as_str().unwrap().to_owned(), seen));
        }
    }
    assert_eq!(report["passed"].as_bool(), Some(output.status.success()));
    (output.status.success(), outcomes)
}

/// A connector must pass all checks; those in `without` may be not applicable to it.
async fn passes(name: &str, isolation: &str, without: &[&str]) {
    let folder = connectors::folder().join(name);
    let (passed, outcomes) = check(&folder, &["--isolation", isolation]).await;
    let bad: Vec<_> = outcomes
        .iter()
        .filter(|(_, (outcome, _))| outcome == "failed")
        .collect();
    assert!(passed && bad.is_empty(), "{bad:#?}");
    assert_eq!(outcomes.len(), tether_connector_conformance::ids().len());
    for ((isolation, id), (outcome, seen)) in &outcomes {
        let lacking = without.contains(&id.as_str());
        let expected = if lacking { "not_applicable" } else { "passed" };
        assert_eq!(outcome, expected, "{isolation} {id}: {seen}");
    }
}

#[tokio::test]
async fn the_dummy_passes_completely_as_a_child() {
    passes("dummy", "child", &["config.operator"]).await;
}

#[tokio::test]
async fn the_dummy_passes_completely_in_process() {
    passes("dummy", "in-process", &["config.operator"]).await;
}

#[tokio::test]
async fn salesforce_passes_completely_as_a_child() {
    passes("salesforce", "child", &[]).await;
}

#[tokio::test]
async fn salesforce_passes_completely_in_process() {
    passes("salesforce", "in-process", &[]).await;
}

#[tokio::test]
async fn hubspot_passes_completely_as_a_child() {
    passes("hubspot", "child", &[]).await;
}

#[tokio::test]
async fn hubspot_passes_completely_in_process() {
    passes("hubspot", "in-process", &[]).await;
}

/// A copy of the dummy's folder with a changed `conformance.toml`.
fn copy(change: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (connectors::folder().join("dummy"), folder.path().join("dummy"));
    std::fs::create_dir(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let path = to.join("conformance.toml");
    let text = change(std::fs::read_to_string(&path).unwrap());
    std::fs::write(path, text).unwrap();
    folder
}

/// The dummy with further operator settings.
fn with(settings: &str) -> tempfile::TempDir {
    copy(|text| {
        text.replace(
            "[operator.settings]\n",
            &format!("[operator.settings]\n{settings}\n"),
        )
    })
}

/// A connector must fail a check for this reason.
async fn fails(folder: &tempfile::TempDir, isolation: &str, id: &str, reason: &str) {
    let arguments = ["--isolation", isolation, "--only", id];
    let (passed, outcomes) = check(&folder.path().join("dummy"), &arguments).await;
    let (outcome, seen) = &outcomes[&(isolation.replace('-', "_"), id.to_owned())];
    assert!(
        !passed && outcome == "failed" && seen.contains(reason),
        "{id} does not find {reason:?}: {outcome}, {seen}"
    );
}

/// Mutants of the dummy (connectors/dummy, `mutant`): the check that must find each, and part of its message.
async fn mutants(mutants: &[(&str, &str, &str)]) {
    for (mutant, id, reason) in mutants {
        fails(&with(&format!("mutant = \"{mutant}\"")), "child", id, reason).await;
    }
}

#[tokio::test]
async fn mutants_of_description_and_login_are_found() {
    mutants(&[
        ("unsteady", "describe.offline", "does not return the same answer"),
        ("companies", "describe.whole", "3 objects have the role COMPANY"),
        ("keyless", "config.group", "accepted"),
        ("stateless", "login.address", "its parameter state"),
        ("identity-changes", "login.works", "two logins of the same user"),
        ("denial-passes", "login.denied", "TRANSIENT"),
        ("codes-pass", "login.code", "TRANSIENT"),
        ("refresh-forgets", "grant.refresh", "the refresh token is missing"),
        ("refreshes-itself", "grant.stream", "never asked for credentials"),
        ("revokes-once", "grant.revoke", "Revoke, repeated"),
        (
            "stays",
            "grant.moved",
            "to another address than the connection's base_url",
        ),
        ("stays", "grant.moved", "changes base_url"),
    ])
    .await;
}

#[tokio::test]
async fn mutants_of_fields_and_reads_are_found() {
    mutants(&[
        ("unsorted", "fields.listed", "in this order"),
        ("miscounts", "fields.counted", "a full read returns"),
        ("spaces", "read.payloads", "not canonical"),
        (
            "orphans",
            "read.records",
            "have a parent that the read does not return",
        ),
        ("covers-too-much", "read.covers", "existing records"),
        ("open-checkpoints", "read.checkpoints", "contains an access token"),
        ("strict", "read.missing-field", "FIELD_GONE"),
        ("skips", "resume.every", "missing"),
        ("skips", "resume.killed", "missing"),
        ("panics-on-nonsense", "resume.invalid-checkpoint", "BUG"),
        ("fetch-differs", "fetch.known", "display_name differs"),
        ("absent-fails", "fetch.absent", "RECORD_GONE"),
        (
            "revives",
            "fetch.deleted",
            "the full read returns Company C00000003 as live",
        ),
        ("revives", "fetch.deleted", "which is deleted, as 1 live records"),
        ("more-is-less", "fetch.many", "`more` is false"),
    ])
    .await;
}

#[tokio::test]
async fn mutants_of_time_and_faults_are_found() {
    mutants(&[
        ("eager", "pressure.bounded", "without a pull"),
        ("goes-on", "time.cancel", "after it was cancelled"),
        ("blocks", "time.deadline", "the deadline was after"),
        ("goes-on", "time.pulls", "still sends requests to the CRM"),
        ("unclassified", "fault.calls", "BUG"),
        ("unclassified", "fault.streams", "BUG"),
        ("trusting", "fault.calls", "it succeeds although the CRM failed"),
        (
            "gives-up",
            "refusal.object",
            "the stream ends because Deal is refused",
        ),
        ("deaf", "refusal.limit", "the CRM asked for 120"),
        ("believes-pages", "foreign.streams", "is reported as unreadable"),
        ("believes-pages", "foreign.calls", "expected TRANSIENT"),
        ("alone", "life.concurrent", "a concurrent stream"),
        ("leaks", "life.growth", "more memory"),
        ("writes", "safety.read-only", "POST /data/anything"),
        ("logs-tokens", "safety.secrets", "contains an access token"),
        ("open-checkpoints", "safety.secrets", "a checkpoint contains"),
    ])
    .await;
    fails(
        &with("mutant = \"leaks\""),
        "in-process",
        "life.growth",
        "more threads",
    )
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_the_folder_is_found() {
    let folder = copy(|text| text);
    let manifest = folder.path().join("dummy/connector.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (before, hash) = text.split_once("sha256 = \"").unwrap();
    std::fs::write(
        &manifest,
        format!("{before}sha256 = \"{}{}", "0".repeat(64), &hash[64..]),
    )
    .unwrap();
    fails(&folder, "child", "manifest.in-order", "sha256").await;
    let settings = "\"script.open\" = \"error:configuration\"";
    fails(&with(settings), "child", "manifest.opens", "as the script says").await;
    let required = copy(|text| {
        text.replace(
            "[operator.settings]",
            "[operator]\nrequired = [\"companies\"]\n\n[operator.settings]",
        )
    });
    fails(&required, "child", "config.operator", "is the setting required?").await;
}

mod shim;
