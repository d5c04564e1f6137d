//! The conformance kit as a command: good connectors pass all checks, and each check finds its defect.

use std::collections::{BTreeMap, BTreeSet};
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
    assert_passed(passed, &outcomes, without);
    assert_eq!(outcomes.len(), tether_connector_conformance::ids().len());
}

fn assert_passed(passed: bool, outcomes: &Outcomes, without: &[&str]) {
    let bad: Vec<_> = outcomes
        .iter()
        .filter(|(_, (outcome, _))| outcome == "failed")
        .collect();
    assert!(passed && bad.is_empty(), "{bad:#?}");
    for ((isolation, id), (outcome, seen)) in outcomes {
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

/// The checks of whole reads. In the others each object is read by the same calls as without Bulk, and the object that is
/// refused is known from the query in a URL, which a job has in its body.
#[tokio::test]
async fn salesforce_reads_by_bulk_as_the_kit_demands() {
    let folder = copy("salesforce", |text| settings(&text, "bulk_rows = \"1\""));
    let families = ["changes.", "read.", "resume."];
    let others = ["pressure.bounded", "safety.read-only", "time.pulls"];
    let ids = tether_connector_conformance::ids().into_iter();
    let ids: Vec<_> = ids
        .filter(|id| others.contains(id) || families.iter().any(|family| id.starts_with(family)))
        .collect();
    let mut arguments = vec!["--isolation", "child"];
    arguments.extend(ids.iter().flat_map(|id| ["--only", *id]));
    let (passed, outcomes) = check(&folder.path().join("salesforce"), &arguments).await;
    assert_passed(passed, &outcomes, &[]);
    let ran = |id: &str| outcomes.keys().any(|(_, outcome)| outcome == id);
    assert!(ids.iter().all(|id| ran(id)), "{ids:?}");
}

#[tokio::test]
async fn hubspot_passes_completely_as_a_child() {
    passes("hubspot", "child", &[]).await;
}

#[tokio::test]
async fn hubspot_passes_completely_in_process() {
    passes("hubspot", "in-process", &[]).await;
}

/// A copy of a connector's folder with a changed `conformance.toml`.
fn copy(name: &str, change: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (connectors::folder().join(name), folder.path().join(name));
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

/// A `conformance.toml` with further operator settings.
fn settings(text: &str, more: &str) -> String {
    text.replace("[operator.settings]\n", &format!("[operator.settings]\n{more}\n"))
}

/// The dummy with further operator settings.
fn with(more: &str) -> tempfile::TempDir {
    copy("dummy", |text| settings(&text, more))
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

const LOGIN: &[(&str, &str, &str)] = &[
    (
        "describe-changes",
        "describe.offline",
        "does not return the same answer",
    ),
    (
        "every-object-is-company",
        "describe.whole",
        "3 objects have the role COMPANY",
    ),
    ("accepts-missing-key", "config.group", "accepted"),
    ("omits-state", "login.address", "its parameter state"),
    ("identity-changes", "login.works", "two logins of the same user"),
    ("denial-is-transient", "login.denied", "TRANSIENT"),
    ("invalid-code-is-transient", "login.code", "TRANSIENT"),
    (
        "refresh-drops-refresh-token",
        "grant.refresh",
        "the refresh token is missing",
    ),
    (
        "stream-refreshes-itself",
        "grant.stream",
        "never asked for credentials",
    ),
    ("repeated-revoke-fails", "grant.revoke", "Revoke, repeated"),
    (
        "ignores-base-url",
        "grant.moved",
        "to another address than the connection's base_url",
    ),
    ("ignores-base-url", "grant.moved", "changes base_url"),
];

const READS: &[(&str, &str, &str)] = &[
    ("wrong-object-order", "fields.listed", "in this order"),
    ("wrong-counts", "fields.counted", "a full read returns"),
    ("payload-with-space", "read.payloads", "not canonical"),
    (
        "unasked-currency",
        "read.payloads",
        "to a host that asks for no currency",
    ),
    (
        "unknown-parents",
        "read.records",
        "have a parent that the read does not return",
    ),
    ("range-too-wide", "read.covers", "existing records"),
    (
        "token-in-checkpoints",
        "read.checkpoints",
        "contains an access token",
    ),
    ("missing-field-fails", "read.missing-field", "FIELD_GONE"),
    ("skips-after-resume", "resume.every", "missing"),
    ("skips-after-resume", "resume.killed", "missing"),
    ("panics-on-invalid-checkpoint", "resume.invalid-checkpoint", "BUG"),
    ("fetch-differs", "fetch.known", "display_name differs"),
    ("absent-company-fails", "fetch.absent", "RECORD_GONE"),
    (
        "deleted-as-live",
        "fetch.deleted",
        "the full read returns Company C00000003 as live",
    ),
    (
        "deleted-as-live",
        "fetch.deleted",
        "which is deleted, as 1 live records",
    ),
    ("never-sets-more", "fetch.many", "`more` is false"),
];

const CHANGES: &[(&str, &str, &str)] = &[
    (
        "rereads-everything",
        "changes.nothing",
        "are returned that did not change",
    ),
    ("misses-deletions", "changes.applied", "too many"),
    ("trusts-times", "changes.late", "other Name"),
    ("forgets-unread", "changes.unread", "different"),
    (
        "partial-has-more",
        "changes.unread",
        "which is not among their fields",
    ),
    ("forgets-calculated", "changes.calculated", "other Growth"),
    (
        "sweeps-without-ranges",
        "changes.sweep",
        "no range of Company is listed as complete",
    ),
    (
        "absent-as-deleted",
        "changes.records",
        "which does not exist, is returned as deleted",
    ),
    ("records-with-ranges", "changes.records", "claims a range of ids"),
    ("refuses-unknown-states", "changes.state", "INVALID_INPUT"),
    ("skips-unknown-objects", "changes.state", "missing"),
    ("full-uses-state", "changes.full", "missing"),
    ("skips-after-resume", "changes.killed", "kills:"),
];

const FAULTS: &[(&str, &str, &str)] = &[
    ("requests-without-pulls", "pressure.bounded", "without a pull"),
    ("requests-after-cancel", "time.cancel", "after it was cancelled"),
    ("blocks-threads", "time.deadline", "the deadline was after"),
    (
        "requests-after-cancel",
        "time.pulls",
        "still sends requests to the CRM",
    ),
    ("every-error-is-bug", "fault.calls", "BUG"),
    ("every-error-is-bug", "fault.streams", "BUG"),
    (
        "accepts-any-body",
        "fault.calls",
        "it succeeds although the CRM failed",
    ),
    (
        "forbidden-object-fails",
        "refusal.object",
        "the stream ends because Deal is refused",
    ),
    ("ignores-wait", "refusal.limit", "the CRM asked for 120"),
    ("trusts-gateways", "foreign.streams", "is reported as unreadable"),
    ("trusts-gateways", "foreign.calls", "expected TRANSIENT"),
    ("one-stream-only", "life.concurrent", "a concurrent stream"),
    ("leaks", "life.growth", "more memory"),
    ("writes", "safety.read-only", "POST /data/anything"),
    ("logs-tokens", "safety.secrets", "contains an access token"),
    ("token-in-checkpoints", "safety.secrets", "a checkpoint contains"),
];

#[test]
fn the_dummys_table_of_mutants_is_complete() {
    let table = include_str!("../../connectors/dummy/src/script.rs");
    let (_, table) = table.split_once("# Mutants").unwrap();
    let mut listed = BTreeSet::new();
    for row in table.lines().filter_map(|line| line.strip_prefix("//! | `")) {
        let (name, rest) = row.split_once('`').unwrap();
        let checks = rest.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        listed.extend(checks.split(", ").map(|id| (name, id)));
    }
    let tested = [LOGIN, READS, CHANGES, FAULTS].into_iter().flatten();
    assert_eq!(listed, tested.map(|(name, id, _)| (*name, *id)).collect());
}

#[tokio::test]
async fn mutants_of_description_and_login_are_found() {
    mutants(LOGIN).await;
}

#[tokio::test]
async fn mutants_of_fields_and_reads_are_found() {
    mutants(READS).await;
}

#[tokio::test]
async fn mutants_of_reads_of_changes_are_found() {
    mutants(CHANGES).await;
}

#[tokio::test]
async fn mutants_of_time_and_faults_are_found() {
    mutants(FAULTS).await;
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
    let folder = copy("dummy", |text| text);
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
    let required = copy("dummy", |text| {
        text.replace(
            "[operator.settings]",
            "[operator]\nrequired = [\"companies\"]\n\n[operator.settings]",
        )
    });
    fails(&required, "child", "config.operator", "is the setting required?").await;
}

mod shim;
