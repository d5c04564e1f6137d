//! Machine-readable statements in the comments of the protos, checked against the running server: bounds of
//! texts, lists and maps, allowed roles, and the names of reasons.
//!
//! The phrases: "at most N characters", "A to B characters" for a text; "at most N", "A to B" for a list; "at
//! most N, keys to K and values to V characters" for a map; "For every member.", "For administrators" for an
//! RPC.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tether::caller::Role;
use tether::policy::{self, Effect, Who};
use tether::proto::v1;
use tonic_types::StatusExt as _;

use crate::edge::{framed, send};
use crate::support::server::{Database, World};

/// A field of a message, with its comment.
struct Field {
    of: FieldDescriptorProto,
    comment: String,
}

/// The public API, by full names.
struct Manual {
    messages: BTreeMap<String, Vec<Field>>,
    maps: BTreeSet<String>,
    /// rpc path → (request message, comment).
    rpcs: BTreeMap<String, (String, String)>,
    /// The names of all values of enums, with and without the enum's prefix.
    values: BTreeSet<String>,
}

impl Manual {
    fn read() -> Self {
        let set = FileDescriptorSet::decode(tether::proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut manual = Self {
            messages: BTreeMap::new(),
            maps: BTreeSet::new(),
            rpcs: BTreeMap::new(),
            values: BTreeSet::new(),
        };
        for file in set.file.iter().filter(|file| file.package() == "tether.v1") {
            let comments: BTreeMap<&[i32], String> = file
                .source_code_info
                .as_ref()
                .unwrap()
                .location
                .iter()
                .map(|one| {
                    (
                        &one.path[..],
                        one.leading_comments()
                            .split_whitespace()
                            .collect::<Vec<_>>()
                            .join(" "),
                    )
                })
                .collect();
            let comment = |path: &[i32]| comments.get(path).cloned().unwrap_or_default();
            for (at, message) in file.message_type.iter().enumerate() {
                manual.message(".tether.v1", message, &[4, at as i32], &comment);
            }
            for of in &file.enum_type {
                manual
                    .values
                    .extend(of.value.iter().map(|value| value.name().to_owned()));
            }
            for (at, service) in file.service.iter().enumerate() {
                for (number, method) in service.method.iter().enumerate() {
                    manual.rpcs.insert(
                        format!("tether.v1.{}/{}", service.name(), method.name()),
                        (
                            method.input_type().to_owned(),
                            comment(&[6, at as i32, 2, number as i32]),
                        ),
                    );
                }
            }
        }
        manual
    }

    fn message(
        &mut self,
        parent: &str,
        message: &DescriptorProto,
        path: &[i32],
        comment: &impl Fn(&[i32]) -> String,
    ) {
        let name = format!("{parent}.{}", message.name());
        if message.options.as_ref().is_some_and(|of| of.map_entry()) {
            self.maps.insert(name.clone());
        }
        let fields = message.field.iter().enumerate().map(|(at, field)| Field {
            of: field.clone(),
            comment: comment(&[path, &[2, at as i32]].concat()),
        });
        self.messages.insert(name.clone(), fields.collect());
        for (at, nested) in message.nested_type.iter().enumerate() {
            self.message(&name, nested, &[path, &[3, at as i32]].concat(), comment);
        }
        for of in &message.enum_type {
            self.values
                .extend(of.value.iter().map(|value| value.name().to_owned()));
        }
    }

    /// The statements about the fields of a request and of its nested messages.
    fn promises(&self, message: &str, path: &str, steps: &[u32], found: &mut Vec<Promise>) {
        for field in &self.messages[message] {
            let path = match path {
                "" => field.of.name().to_owned(),
                path => format!("{path}.{}", field.of.name()),
            };
            let steps = [steps, &[field.of.number() as u32]].concat();
            let map = self.maps.contains(field.of.type_name());
            for bound in bounds(field, map) {
                found.push(Promise {
                    path: path.clone(),
                    steps: steps.clone(),
                    kind: field.of.r#type(),
                    map,
                    bound,
                });
            }
            let nested =
                field.of.type_name().starts_with(".tether.v1.") && field.of.r#type() == Type::Message;
            if nested && !map && steps.len() < 3 {
                self.promises(field.of.type_name(), &path, &steps, found);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Characters(usize, usize),
    Entries(usize, usize),
    Keys(usize),
    Values(usize),
}

#[derive(Debug)]
struct Promise {
    path: String,
    steps: Vec<u32>,
    kind: Type,
    map: bool,
    bound: Bound,
}

/// The bounds in a comment.
fn bounds(field: &Field, map: bool) -> Vec<Bound> {
    let text: String = {
        // 2,048 is one number.
        let chars: Vec<char> = field.comment.chars().collect();
        let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
        let keep = |at: &usize| chars[*at] != ',' || *at == 0 || !digit(at - 1) || !digit(at + 1);
        (0..chars.len()).filter(keep).map(|at| chars[at]).collect()
    };
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| ",.;:()".contains(c)))
        .collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let list = field.of.label() == Label::Repeated;
    let mut found = Vec::new();
    for at in 0..words.len() {
        let range = match (word(at), number(at), word(at + 1), number(at + 2)) {
            ("at", _, "most", Some(most)) | ("At", _, "most", Some(most)) => (0, most),
            (_, Some(least), "to", Some(most)) => (least, most),
            ("keys", _, "to", Some(most)) if map => {
                found.push(Bound::Keys(most));
                continue;
            }
            ("values", _, "to", Some(most)) if map => {
                found.push(Bound::Values(most));
                continue;
            }
            _ => continue,
        };
        match (word(at + 3), field.of.r#type()) {
            ("characters", Type::String) => found.push(Bound::Characters(range.0, range.1)),
            (next, Type::String | Type::Message | Type::Enum) if list && next != "characters" => {
                found.push(Bound::Entries(range.0, range.1));
            }
            _ => {}
        }
    }
    found
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A length-delimited field.
fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(u64::from(number) << 3 | 2, &mut out);
    varint(content.len() as u64, &mut out);
    out.extend(content);
    out
}

/// A field inside the nested messages of the other steps.
fn within(steps: &[u32], field: Vec<u8>) -> Vec<u8> {
    let outer = &steps[..steps.len() - 1];
    outer
        .iter()
        .rev()
        .fold(field, |inner, step| delimited(*step, &inner))
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    [delimited(1, key.as_bytes()), delimited(2, value.as_bytes())].concat()
}

/// A text of this length that is otherwise valid if possible.
fn text(path: &str, length: usize) -> String {
    let base = "https://example.com/";
    match path.ends_with("_uri") && length > base.len() {
        true => format!("{base}{}", "a".repeat(length - base.len())),
        // Characters differ from bytes.
        false => "ü".repeat(length),
    }
}

/// The field with this number of characters or entries.
fn filled(promise: &Promise, size: usize) -> Vec<u8> {
    let number = *promise.steps.last().unwrap();
    let many = |each: &dyn Fn(usize) -> Vec<u8>| (0..size).flat_map(each).collect();
    let field: Vec<u8> = match (&promise.bound, promise.kind) {
        (Bound::Characters(..), _) => delimited(number, text(&promise.path, size).as_bytes()),
        (Bound::Keys(_), _) => delimited(number, &entry(&"ü".repeat(size), "x")),
        (Bound::Values(_), _) => delimited(number, &entry("x", &"ü".repeat(size))),
        (Bound::Entries(..), Type::Enum) => {
            let mut one = Vec::new();
            varint(u64::from(number) << 3, &mut one);
            one.push(2);
            one.repeat(size)
        }
        (Bound::Entries(..), Type::Message) if promise.map => {
            many(&|at| delimited(number, &entry(&format!("k{at}"), "x")))
        }
        (Bound::Entries(..), Type::Message) => many(&|_| delimited(number, &[])),
        (Bound::Entries(..), _) => many(&|at| {
            let each = match promise.path.rsplit('.').next().unwrap_or_default() {
                "sources" => format!("integrations/0198c0de-0000-7000-8000-{at:012}"),
                "names" => format!("companies/0198c0de-0000-5000-8000-{at:012}"),
                path if path.ends_with("fields") => format!("Company.F{at}"),
                _ => format!("x{at}"),
            };
            delimited(number, each.as_bytes())
        }),
    };
    // Required fields beside it in the same message.
    let beside = match promise.path.as_str() {
        path if path.ends_with("new_company.homepage_uri") => delimited(1, b"Name"),
        path if path.ends_with("shares.fields") => delimited(2, b"groups/globex"),
        _ => Vec::new(),
    };
    within(&promise.steps, [beside, field].concat())
}

/// A request that is valid except for the tested field, which is appended to it.
fn base(rpc: &str, integration: &str, draft: &str) -> Option<Vec<u8>> {
    let acme = "groups/acme".to_owned();
    let (of, draft) = (integration.to_owned(), draft.to_owned());
    let integration = |name: &str| {
        Some(v1::Integration {
            name: name.to_owned(),
            display_name: "Manual".to_owned(),
            connector: "connectors/dummy".to_owned(),
            ..Default::default()
        })
    };
    let share = Some(v1::Share {
        name: format!("{of}/shares/globex"),
        ..Default::default()
    });
    Some(match rpc.rsplit('/').next().unwrap_or_default() {
        "ListConnectors"
        | "ListIntegrations"
        | "SearchShareableGroups"
        | "WatchGroup"
        | "ListAuditEntries"
        | "ListCompanies"
        | "ListSources"
        | "TrackCompanies"
        | "UntrackCompanies"
        | "AggregateCompanies"
        | "ExportCompanies" => delimited(1, acme.as_bytes()),
        "ListAvailableFields"
        | "ListFields"
        | "ListShares"
        | "ListSyncs"
        | "BatchUpdateFieldActivation"
        | "DeleteIntegration" => delimited(1, of.as_bytes()),
        "BeginAuthorization" | "ActivateIntegration" => delimited(1, draft.as_bytes()),
        "AuthorizeWithCredentials" => v1::AuthorizeWithCredentialsRequest {
            name: draft,
            auth_kind: v1::AuthKind::ApiKey as i32,
            ..Default::default()
        }
        .encode_to_vec(),
        "CreateIntegration" => v1::CreateIntegrationRequest {
            parent: acme,
            integration: integration(""),
            validate_only: true,
            ..Default::default()
        }
        .encode_to_vec(),
        "UpdateIntegration" => v1::UpdateIntegrationRequest {
            integration: integration(&draft),
            validate_only: true,
            ..Default::default()
        }
        .encode_to_vec(),
        "ReviewIntegration" => v1::ReviewIntegrationRequest {
            name: draft,
            proposal: integration(""),
            ..Default::default()
        }
        .encode_to_vec(),
        "CompleteAuthorization" => v1::CompleteAuthorizationRequest {
            state: "x".to_owned(),
            ..Default::default()
        }
        .encode_to_vec(),
        "SetShare" => v1::SetShareRequest { share }.encode_to_vec(),
        "GetCompanyProfile" => v1::GetCompanyProfileRequest {
            name: "companies/0198c0de-0000-5000-8000-000000000000".to_owned(),
            parent: acme,
            ..Default::default()
        }
        .encode_to_vec(),
        "UpsertGroup" => v1::UpsertGroupRequest {
            group: Some(v1::Group {
                name: acme,
                display_name: "Acme".to_owned(),
                ..Default::default()
            }),
        }
        .encode_to_vec(),
        "BatchUpsertCompanies" | "ListGroups" => Vec::new(),
        _ => return None,
    })
}

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
            let (reason, violation) = ask(most).await;
            if reason == "NOT_IMPLEMENTED_YET" {
                continue;
            }
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
