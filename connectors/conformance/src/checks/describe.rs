//! The description of the connector.

use std::collections::HashSet;

use tether_connector_host::proto::{DescribeRequest, DescribeResponse, ObjectRole, Setting};

use super::check::Check;
use crate::connector::CALL_TIMEOUT;
use crate::finding::{CheckResult, Context as _, Findings, fails};
use crate::world::World;

pub(super) const OFFLINE: Check = Check {
    id: "describe.offline",
    title: "Describe needs no network, and its answer is constant",
    why: "The server calls it at start, when the CRM may be down; a change would affect running integrations.",
    spec: &["DESC-1", "TIME-5"],
    run: |world| Box::pin(offline(world)),
};

pub(super) const WHOLE: Check = Check {
    id: "describe.whole",
    title: "Describe has one COMPANY object, unique keys, and a label for every setting",
    why: "Companies come from exactly one object, and users choose by labels.",
    spec: &["DESC-2", "DESC-3", "DESC-4", "DESC-5", "AUTH-9"],
    run: |world| Box::pin(whole(world)),
};

async fn offline(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    // A port without a listener: the CRM is down.
    let down = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let down = down
        .map_err(|error| fails(format!("no port on loopback: {error}")))?
        .to_string();
    let settings = world.quirks.operator.settings.iter();
    let settings = settings
        .map(|(key, value)| (key.clone(), world.with_placeholders_at(value, &down)))
        .collect();
    let alone = world.open_with(settings, &down).await;
    let alone = alone.map_err(|error| fails(format!("with the CRM down it does not open: {error}")))?;
    let alone = alone
        .describe(DescribeRequest {}, CALL_TIMEOUT)
        .await
        .context("with the CRM down, Describe")?;
    let bare = world.open_with(std::collections::HashMap::new(), "").await;
    let mut others = Vec::new();
    // A connector may need settings to open, but its description must not depend on them.
    if let Ok(bare) = bare {
        others.push(
            bare.describe(DescribeRequest {}, CALL_TIMEOUT)
                .await
                .context("without settings, Describe")?,
        );
    }
    let connector = world.open().await?;
    let requests = world.proxy.as_ref().map_or(0, |proxy| proxy.count());
    for _ in 0..3 {
        others.push(
            connector
                .describe(DescribeRequest {}, CALL_TIMEOUT)
                .await
                .context("Describe")?,
        );
    }
    let asked = world.proxy.as_ref().map_or(0, |proxy| proxy.count()) - requests;
    findings.unless(asked == 0, || {
        format!("Describe sent {asked} requests to the CRM")
    });
    findings.unless(others.iter().all(|other| *other == alone), || {
        "Describe does not return the same answer each time".to_owned()
    });
    findings.done(format!("the same answer {} times", others.len() + 1))
}

async fn whole(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let described: &DescribeResponse = world.description(&connector).await?;
    if let Ok(library) = world.library.as_ref() {
        let manifest = library.manifest();
        findings.unless(described.connector == manifest.name, || {
            format!(
                "its name is {:?}, in its manifest {:?}",
                described.connector, manifest.name
            )
        });
        findings.unless(described.version == manifest.version, || {
            format!(
                "its version is {:?}, in its manifest {:?}",
                described.version, manifest.version
            )
        });
    }
    findings.unless(!described.display_name.is_empty(), || {
        "display_name is empty".to_owned()
    });
    let companies = described
        .objects
        .iter()
        .filter(|object| object.role() == ObjectRole::Company)
        .count();
    findings.unless(companies == 1, || {
        format!("{companies} objects have the role COMPANY; expected one")
    });
    let mut keys = HashSet::new();
    for object in &described.objects {
        findings.unless(!object.key.is_empty() && !object.label.is_empty(), || {
            format!("the object {:?} has no key or no label", object.key)
        });
        findings.unless(keys.insert(&object.key), || {
            format!("two objects have the key {}", object.key)
        });
        findings.unless(object.role() != ObjectRole::Unspecified, || {
            format!("the object {} has no role", object.key)
        });
    }
    findings.unless(!described.auth_methods.is_empty(), || {
        "there is no login method".to_owned()
    });
    let mut kinds = HashSet::new();
    for method in &described.auth_methods {
        findings.unless(kinds.insert(method.kind), || {
            format!("{} is listed twice", method.kind().as_str_name())
        });
        settings(&mut findings, &method.parameters);
    }
    let ours = world.quirks.login.method.kind();
    findings.unless(kinds.contains(&i32::from(ours)), || {
        format!(
            "conformance.toml uses the login method {}, which Describe does not list",
            ours.as_str_name()
        )
    });
    settings(&mut findings, &described.settings);
    settings(&mut findings, &described.operator_settings);
    findings.done(format!(
        "{} objects, {} login methods",
        described.objects.len(),
        described.auth_methods.len()
    ))
}

fn settings(findings: &mut Findings, settings: &[Setting]) {
    let mut keys = HashSet::new();
    for setting in settings {
        let key = &setting.key;
        findings.unless(!key.is_empty() && !setting.label.is_empty(), || {
            format!("the setting {key:?} has no key or no label")
        });
        findings.unless(keys.insert(key), || format!("two settings have the key {key}"));
        let among = setting
            .choices
            .iter()
            .any(|choice| choice.value == setting.default_value);
        let free = setting.choices.is_empty() || setting.default_value.is_empty();
        findings.unless(free || among, || {
            format!("the default of the setting {key} is not among its choices")
        });
        // Platforms display settings that are not marked secret.
        let is_secret = ["secret", "password", "private_key", "api_key", "token"]
            .iter()
            .any(|word| key.contains(word));
        findings.unless(!is_secret || setting.secret, || {
            format!("the setting {key} is not marked secret")
        });
    }
}
