//! Wrong settings: the connector must report the operator's and the group's errors as such.

use std::collections::HashMap;

use tether_connector_host::LoadError;
use tether_connector_host::proto::{BeginAuthorizationRequest, ErrorKind, LogInRequest, LoggedIn, Setting};

use super::check::Check;
use crate::connector::{CALL_TIMEOUT, Connector, Failure};
use crate::finding::{CheckResult, Findings, Halt};
use crate::login::Attempt;
use crate::quirks::Method;
use crate::world::World;

/// Not a valid key, address or number.
const INVALID: &str = "\u{1}☃ no such thing\n";
/// The expected error kinds for a wrong setting.
const WRONG: &[ErrorKind] = &[ErrorKind::Configuration, ErrorKind::InvalidInput];

pub(super) const OPERATOR: Check = Check {
    id: "config.operator",
    title: "a missing or invalid setting of the operator is reported as CONFIGURATION or INVALID_INPUT",
    why: "An operator who mistypes a setting must learn which one; a crash or a transient error does not tell.",
    spec: &["LIFE-4", "ERR-1", "ERR-7"],
    run: |world| Box::pin(operator(world)),
};

pub(super) const GROUP: Check = Check {
    id: "config.group",
    title: "missing and wrong group settings and login parameters are reported, with the parameter's key",
    why: "The page that asked for them shows the error beside the field at fault.",
    spec: &["ERR-1", "ERR-6", "AUTH-9"],
    run: |world| Box::pin(group(world)),
};

async fn operator(world: &World) -> CheckResult {
    let required = &world.quirks.operator.required;
    if required.is_empty() {
        return Err(Halt::Lacks("[operator] has no required settings".to_owned()));
    }
    let mut findings = Findings::default();
    for key in required {
        for value in [None, Some(INVALID)] {
            let what = format!(
                "{key} {}",
                if value.is_some() {
                    "is invalid"
                } else {
                    "is missing"
                }
            );
            let mut settings = world.operator();
            match value {
                Some(value) => drop(settings.insert(key.clone(), value.to_owned())),
                None => drop(settings.remove(key)),
            }
            let connector = match world.open_with(settings, &world.address()).await {
                Ok(connector) => connector,
                Err(LoadError::Open(error)) => {
                    findings.unless(error.what() == ErrorKind::Configuration, || {
                        format!(
                            "{what}: open fails with {} ({error}); expected CONFIGURATION",
                            error.label()
                        )
                    });
                    findings.unless(error.message.contains(key.as_str()), || {
                        format!("{what}: the message of open does not name the setting: {error}")
                    });
                    continue;
                }
                Err(error) => {
                    findings.add(format!("{what}: {error}"));
                    continue;
                }
            };
            match world.try_log_in(&connector).await {
                Ok(Ok(_)) => findings.add(format!("{what}: the login succeeds; is the setting required?")),
                Ok(Err(failure)) => check_kind(&mut findings, &what, &failure),
                // Either the URL was built and the CRM itself refused it, or the connector failed.
                Err(halt) => match &halt {
                    Halt::Fails(seen)
                        if seen
                            .iter()
                            .any(|seen| seen.contains("the fixture did not approve")) => {}
                    Halt::Fails(seen)
                        if seen
                            .iter()
                            .any(|seen| WRONG.iter().any(|kind| seen.contains(label(*kind)))) => {}
                    _ => drop(findings.part::<()>(Err(halt))),
                },
            }
            check_instance(&mut findings, &what, &connector);
        }
    }
    findings.done(format!("{} settings, missing and invalid", required.len()))
}

fn label(kind: ErrorKind) -> &'static str {
    kind.as_str_name().trim_start_matches("ERROR_KIND_")
}

fn check_kind(findings: &mut Findings, what: &str, failure: &Failure) {
    findings.unless(failure.kind().is_some_and(|kind| WRONG.contains(&kind)), || {
        format!("{what}: {failure}; expected CONFIGURATION or INVALID_INPUT")
    });
}

fn check_instance(findings: &mut Findings, what: &str, connector: &Connector) {
    if let Some(failure) = connector.raw.failure() {
        findings.add(format!("{what}: the instance failed: {failure}"));
    }
}

async fn group(world: &World) -> CheckResult {
    let mut findings = Findings::default();
    let connector = world.open().await?;
    let described = world.description(&connector).await?.clone();
    let mut tried = 0;
    for setting in &described.settings {
        for (value, what) in invalid_values(setting, world.quirks.group.settings.contains_key(&setting.key)) {
            tried += 1;
            let mut settings = world.group();
            match value {
                Some(value) => drop(settings.insert(setting.key.clone(), value)),
                None => drop(settings.remove(&setting.key)),
            }
            let what = format!("the group's setting {} {what}", setting.key);
            match begin_login(world, &connector, settings).await {
                Ok(()) => findings.add(format!("{what}: accepted")),
                Err(failure) => check_kind(&mut findings, &what, &failure),
            }
        }
    }
    for method in &described.auth_methods {
        let ours = method.kind() == world.quirks.login.method.kind();
        for parameter in method.parameters.iter().filter(|parameter| parameter.required) {
            tried += 1;
            let mut parameters = if ours {
                world.log_in_request().parameters
            } else {
                HashMap::new()
            };
            for other in &method.parameters {
                parameters
                    .entry(other.key.clone())
                    .or_insert_with(|| "placeholder".to_owned());
            }
            parameters.remove(&parameter.key);
            let request = LogInRequest {
                settings: world.group(),
                auth_kind: method.kind,
                parameters,
            };
            let what = format!(
                "{}: the parameter {} is missing",
                method.kind().as_str_name(),
                parameter.key
            );
            match connector.log_in(request, CALL_TIMEOUT).await {
                Ok(_) => findings.add(format!("{what}: accepted")),
                Err(failure) => {
                    check_kind(&mut findings, &what, &failure);
                    let named = failure
                        .reported()
                        .is_some_and(|error| error.field == parameter.key);
                    // If several parameters are missing, the error may name any of them; here only one is
                    // missing.
                    findings.unless(named || !ours, || {
                        format!("{what}: `field` does not name it: {failure}")
                    });
                }
            }
        }
    }
    tried += 1;
    let unknown = LogInRequest {
        auth_kind: 99,
        ..world.log_in_request()
    };
    match connector.log_in(unknown, CALL_TIMEOUT).await {
        Err(failure)
            if matches!(
                failure.kind(),
                Some(ErrorKind::Unsupported | ErrorKind::InvalidInput)
            ) => {}
        Err(failure) => findings.add(format!(
            "a login method that is not listed: {failure}; expected UNSUPPORTED"
        )),
        Ok(_) => findings.add("a login method that is not listed is accepted"),
    }
    check_instance(&mut findings, "after all", &connector);
    findings.done(format!("{tried} wrong inputs"))
}

/// Invalid values for a setting.
fn invalid_values(setting: &Setting, given: bool) -> Vec<(Option<String>, &'static str)> {
    let mut wrongs = Vec::new();
    if setting.required && given && setting.default_value.is_empty() {
        wrongs.push((None, "is missing"));
    }
    if !setting.choices.is_empty() {
        wrongs.push((Some("none-of-the-choices".to_owned()), "is none of its choices"));
    }
    wrongs
}

/// Begins a login with these settings, by the method of `conformance.toml`.
async fn begin_login(
    world: &World,
    connector: &Connector,
    settings: HashMap<String, String>,
) -> Result<(), Failure> {
    if world.quirks.login.method == Method::AuthorizationCode {
        let request = BeginAuthorizationRequest {
            settings,
            ..world.begin_request(&Attempt::new())
        };
        return connector
            .begin_authorization(request, CALL_TIMEOUT)
            .await
            .map(|_| ());
    }
    let request = LogInRequest {
        settings,
        ..world.log_in_request()
    };
    let answer: Result<LoggedIn, Failure> = connector.log_in(request, CALL_TIMEOUT).await;
    answer.map(|logged_in| world.add_secrets(logged_in.credentials.as_ref()))
}
