//! Machine-readable statements in the comments of the protos, checked against the running server: bounds of
//! texts, lists and maps, allowed roles, and the names of reasons.
//!
//! The phrases: "at most N characters", "A to B characters" for a text; "at most N", "A to B" for a list; "at
//! most N, keys to K and values to V characters" for a map; "For every member.", "For administrators" for an
//! RPC.

mod comments;
mod requests;

use std::collections::BTreeSet;

use bytes::Bytes;
use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};
use tether::caller::Role;
use tether::policy::{self, Effect, Who};
use tonic_types::StatusExt as _;

use comments::{Bound, Field, Manual, bounds};
use requests::{base, filled};

use crate::edge::{framed, send};
use crate::support::server::{Database, World};

/// `companies[3].name` as `companies.name`.
fn plain(path: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for c in path.replace(" (a key)", "").chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// The beginning of the error of a field that must not be set.
const EMPTY: &str = "must be empty";

/// The reason of a request's error, and its description of this field.
async fn said(world: &World, rpc: &str, token: &str, body: &[u8], path: &str) -> (String, Option<String>) {
    let request = http::Request::post(format!("/{rpc}"))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20S")
        .header("authorization", format!("Bearer {token}"))
        .body(framed(body))
        .unwrap();
    let status = send(world, request).await.status.unwrap();
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default();
    let violation = details.bad_request().and_then(|bad| {
        let of = bad.field_violations.iter().find(|one| {
            let field = plain(&one.field);
            let around = path.starts_with(&format!("{field}.")) && one.description.starts_with(EMPTY);
            field == path || around
        })?;
        Some(of.description.replace(',', ""))
    });
    (reason, violation)
}

#[tokio::test]
async fn bounds_are_kept_as_the_comments_say() {
    let world = World::start(Database::Sqlite, 1).await;
    let mut ann = world.ann().await;
    let (name, _) = ann.dummy("Ours", "ann").await;
    let draft = ann.create("dummy", "Draft").await;
    let manual = Manual::read();
    let (mut wrong, mut held) = (Vec::new(), 0);
    for (rpc, (request, _)) in &manual.rpcs {
        let mut promises = Vec::new();
        manual.promises(request, "", &[], &mut promises);
        if promises.is_empty() {
            continue;
        }
        let Some(base) = base(rpc, &name, &draft) else {
            wrong.push(format!("{rpc}: give it a request in `base`"));
            continue;
        };
        let role = match policy::who_may(&format!("/{rpc}")) {
            Some(Who::Roles(roles)) if roles.contains(&Role::Administrator) => Role::Administrator,
            _ => Role::Service,
        };
        let token = world.token("ann", (role != Role::Service).then_some("acme"), role);
        for promise in &promises {
            let ask = async |size: usize| {
                let body = [&base[..], &filled(promise, size)].concat();
                said(&world, rpc, &token, &body, &promise.path).await
            };
            let (least, most) = match promise.bound {
                Bound::Characters(least, most) | Bound::Entries(least, most) => (least, most),
                Bound::Keys(most) | Bound::Values(most) => (0, most),
            };
            let told = most.to_string();
            let what = format!("{rpc} {} {:?}", promise.path, promise.bound);
            let (_, violation) = ask(most).await;
            let by_length = |text: &String| {
                text.contains(&told) && (text.contains("characters") || text.contains("entries"))
            };
            if violation.as_ref().is_some_and(by_length) {
                wrong.push(format!("{what}: {most} are refused: {violation:?}"));
            }
            let (reason, violation) = ask(most + 1).await;
            // A token is opaque: one that is too long counts as damaged.
            let token_field = promise.path.ends_with("page_token") || promise.path.ends_with("resume_token");
            let refused = match token_field {
                true => reason == "INVALID_PAGE_TOKEN" || reason == "INVALID_FIELD_VALUE",
                false => violation
                    .as_ref()
                    .is_some_and(|text| by_length(text) || text.starts_with(EMPTY)),
            };
            if !refused {
                wrong.push(format!(
                    "{what}: {} are not refused: {reason} {violation:?}",
                    most + 1
                ));
            }
            // Without a mask, an empty field of an edit is left unchanged.
            let stays = ["UpdateIntegration", "ReviewIntegration"]
                .iter()
                .any(|one| rpc.ends_with(one))
                && promise.steps.len() == 2;
            if least > 0 && !stays {
                let (reason, violation) = ask(least - 1).await;
                if violation.is_none() {
                    wrong.push(format!("{what}: {} are not refused: {reason}", least - 1));
                }
            }
            held += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(held > 40, "only {held} promises were found");
}

#[test]
fn roles_are_those_of_the_comments() {
    let manual = Manual::read();
    let mut wrong = Vec::new();
    for (rpc, (_, comment)) in &manual.rpcs {
        let Some((_, Who::Roles(roles), effect)) = policy::row(&format!("/{rpc}")) else {
            wrong.push(format!("{rpc} is not in the table"));
            continue;
        };
        let (member, administrator, service) = (Role::Member, Role::Administrator, Role::Service);
        let wanted: BTreeSet<&str> = if rpc.starts_with("tether.v1.GroupService/")
            || comment.contains("service identity only")
        {
            [service.as_str()].into()
        } else if comment.contains("For every member") {
            match effect {
                Effect::Reads => [member.as_str(), administrator.as_str(), service.as_str()].into(),
                Effect::Changes => [member.as_str(), administrator.as_str()].into(),
            }
        } else if comment.contains("For administrators of the group, and for the service identity") {
            [administrator.as_str(), service.as_str()].into()
        } else if comment.contains("For administrators") || comment.contains("Only the user who began it") {
            [administrator.as_str()].into()
        } else {
            wrong.push(format!("{rpc} does not say whom it is for: {comment}"));
            continue;
        };
        let given: BTreeSet<&str> = roles.iter().map(|role| role.as_str()).collect();
        if given != wanted {
            wrong.push(format!("{rpc} is for {given:?}; its comment says {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reasons_that_comments_name_exist() {
    let manual = Manual::read();
    let known = |word: &str| {
        manual
            .values
            .iter()
            .any(|value| value == word || value.ends_with(&format!("_{word}")))
    };
    let mut wrong = Vec::new();
    let comments = manual
        .rpcs
        .iter()
        .map(|(rpc, (_, comment))| (rpc.clone(), comment));
    let fields = manual.messages.iter().flat_map(|(message, fields)| {
        fields
            .iter()
            .map(move |field| (format!("{message}.{}", field.of.name()), &field.comment))
    });
    for (whose, comment) in comments.chain(fields) {
        for word in comment.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let shouts = word.contains('_')
                && word.contains(|c: char| c.is_ascii_uppercase())
                && word
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if shouts && !known(word) {
                wrong.push(format!("{whose}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn comments_are_read_as_they_are_meant() {
    let read = |comment: &str, kind: Type, label: Label, map: bool| {
        let of = FieldDescriptorProto {
            r#type: Some(kind as i32),
            label: Some(label as i32),
            ..Default::default()
        };
        let comment = comment.to_owned();
        bounds(&Field { of, comment }, map)
    };
    let one = |comment: &str| read(comment, Type::String, Label::Optional, false);
    assert_eq!(
        one("Words; at most 2,048 characters."),
        [Bound::Characters(0, 2_048)]
    );
    assert_eq!(
        one("The name: 1 to 100 characters, unique."),
        [Bound::Characters(1, 100)]
    );
    assert_eq!(one("At least 5 seconds, for 7 days."), []);
    let list = |comment: &str| read(comment, Type::String, Label::Repeated, false);
    assert_eq!(
        list("The fields, 1 to 2,000, each active."),
        [Bound::Entries(1, 2_000)]
    );
    assert_eq!(
        list("Only these; at most 100. Empty means any."),
        [Bound::Entries(0, 100)]
    );
    assert_eq!(
        read(
            "At most 20, keys to 64 and values to 2,048 characters.",
            Type::Message,
            Label::Repeated,
            true
        ),
        [Bound::Entries(0, 20), Bound::Keys(64), Bound::Values(2_048)]
    );
    assert_eq!(framed(b"x"), Bytes::from_static(b"\0\0\0\0\x01x"));
}
