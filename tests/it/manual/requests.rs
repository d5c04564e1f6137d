//! A valid request of each RPC, and fields of some length that are appended to it.

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use tether::proto::v1;

use super::comments::{Bound, Promise};

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
pub(super) fn filled(promise: &Promise, size: usize) -> Vec<u8> {
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
        "companies.display_name" => delimited(1, b"id"),
        path if path.ends_with("shares.fields") => delimited(2, b"groups/globex"),
        _ => Vec::new(),
    };
    within(&promise.steps, [beside, field].concat())
}

/// A request that is valid except for the tested field, which is appended to it.
pub(super) fn base(rpc: &str, integration: &str, draft: &str) -> Option<Vec<u8>> {
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
