//! One failing call for each reason, checked against the comment in `error_reason.proto`.

mod provoke;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use tether::error::Reason;
use tether::proto::v1;
use tonic_types::ErrorDetails;

use crate::support::server::{Database, Refused, World, on_both_databases};

on_both_databases!(every_reason_is_told_as_its_manual_says);

/// Reasons that no call here can cause, and why.
const NOT_PROVOKED: &[(Reason, &str)] = &[
    (
        Reason::FieldPassive,
        "every selected field is active until groups can say otherwise; the checker's own test has passive ones",
    ),
    (
        Reason::Overloaded,
        "takes thousands of calls at once; the limiter's own test refuses the one too many",
    ),
    (
        Reason::RequestMalformed,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::RequestTooLarge,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::EncodingUnsupported,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::RpcUnknown,
        "takes a request that no client makes; `edge` sends it raw",
    ),
    (
        Reason::AnswerTooLarge,
        "no answer is that large as far as known; the layer's own test has one",
    ),
    (
        Reason::GroupOverloaded,
        "takes many calls at once; the story of one group beside another has them",
    ),
    (
        Reason::ReaderTooSlow,
        "takes a reader that does not read; the streams' and the answers' own tests have one",
    ),
    (
        Reason::RemovalHeldBack,
        "stands in a sync's objects, never in the error of a call; `truth` has it",
    ),
    (
        Reason::NothingToConfirm,
        "takes a sync that held nothing back, or another's; `truth` has both",
    ),
    (
        Reason::RefreshLimited,
        "stands in a card's freshness, never in the error of a call",
    ),
    (
        Reason::ApiBudgetUsed,
        "stands in syncs and in a card's freshness, never in the error of a call; `allowance` has both",
    ),
    (
        Reason::ShuttingDown,
        "told while a server stops; the story of SIGTERM hears it",
    ),
    (
        Reason::StorageUnavailable,
        "told on SQLite alone, where a second process can hold the file",
    ),
];

#[test]
fn every_reason_stands_in_the_manual() {
    for reason in Reason::ALL {
        let name = format!("ERROR_REASON_{}", reason.as_str());
        assert!(v1::ErrorReason::from_str_name(&name).is_some(), "{name}");
    }
}

/// The comment of each value of `tether.v1.ErrorReason`.
fn manual() -> BTreeMap<String, String> {
    let set = prost_types::FileDescriptorSet::decode(tether::proto::FILE_DESCRIPTOR_SET).unwrap();
    let file = set
        .file
        .iter()
        .find(|file| file.name() == "tether/v1/error_reason.proto")
        .unwrap();
    let at = file
        .enum_type
        .iter()
        .position(|one| one.name() == "ErrorReason")
        .unwrap();
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let values = file.enum_type[at]
        .value
        .iter()
        .enumerate()
        .map(|(number, value)| {
            // enum_type = 5, value = 2
            let path = [5, at as i32, 2, number as i32];
            let comment = locations
                .iter()
                .find(|one| one.path == path)
                .map(|one| one.leading_comments());
            let name = value.name().trim_start_matches("ERROR_REASON_").to_owned();
            (
                name,
                comment
                    .unwrap_or_default()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        });
    values.collect()
}

/// `FailedPrecondition` as `FAILED_PRECONDITION`.
fn spelled(code: tonic::Code) -> String {
    let mut out = String::new();
    for (at, c) in format!("{code:?}").char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// The errors so far, by reason.
#[derive(Default)]
struct Told(BTreeMap<&'static str, Refused>);

impl Told {
    fn is(&mut self, reason: Reason, told: Refused) {
        assert_eq!(told.reason, reason.as_str(), "{told:?}");
        assert!(!told.message.is_empty());
        self.0.insert(reason.as_str(), told);
    }
}

async fn every_reason_is_told_as_its_manual_says(database: Database) {
    // One of the errors says that nearly all of the allowance is used.
    let settings = ["allowance.organization_percent=100", "allowance.live_percent=100"];
    let world = World::start_with(database, 1, &settings).await;
    let mut told = Told::default();
    let mut ann = world.ann().await;
    provoke::callers(&world, &mut told).await;
    let name = provoke::creations(&mut told, &mut ann).await;
    provoke::edits_and_pages(&mut told, &mut ann, &name).await;
    provoke::states(&mut told, &mut ann, &name).await;
    provoke::logins(&world, &mut told, &mut ann, &name).await;
    provoke::fields(&mut told, &mut ann, &name).await;
    provoke::searches_and_syncs(&world, &mut told, &mut ann, &name).await;
    provoke::errors_of_the_crm(&world, &mut told, &mut ann, &name).await;
    provoke::limits(&world, &mut told).await;
    provoke::database(&world, &mut told, &mut ann, database, name).await;
    provoke::between_groups(&mut told, database).await;

    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let exempt = |reason: &&&str| !NOT_PROVOKED.iter().any(|(one, _)| one.as_str() == **reason);
    let missing: Vec<_> = all
        .iter()
        .filter(exempt)
        .filter(|reason| !told.0.contains_key(**reason))
        .collect();
    assert!(missing.is_empty(), "nothing was told of {missing:?}");
    as_the_manual_says(&told);
}

/// The comments name the gRPC code, the details and the metadata of each reason.
fn as_the_manual_says(told: &Told) {
    let manual = manual();
    let mut wrong = Vec::new();
    for (reason, told) in &told.0 {
        let (comment, details): (&String, &ErrorDetails) = (&manual[*reason], &told.details);
        if !comment.contains(&format!("{}.", spelled(told.code)))
            && !comment.contains(&format!("{},", spelled(told.code)))
        {
            wrong.push(format!("{reason} came as {}: {comment}", spelled(told.code)));
        }
        for (named, there) in [
            ("BadRequest", details.bad_request().is_some()),
            ("RetryInfo", details.retry_info().is_some()),
            ("PreconditionFailure", details.precondition_failure().is_some()),
            ("QuotaFailure", details.quota_failure().is_some()),
        ] {
            if comment.contains(named) && !there {
                wrong.push(format!("{reason} lacks {named}"));
            }
        }
        let documented = comment
            .split_once("Metadata: ")
            .map_or("", |(_, rest)| rest.split('.').next().unwrap());
        let metadata = details.error_info().map(|info| &info.metadata);
        for key in documented.split('`').skip(1).step_by(2) {
            if metadata.is_none_or(|metadata| !metadata.contains_key(key)) {
                wrong.push(format!("{reason} lacks the metadata {key}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
