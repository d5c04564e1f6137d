//! The largest call of every RPC over companies with long texts: its bytes, seconds and memory; then callers
//! that do not read their answers.
//!
//! `cargo bench --bench bounds -- --accounts 10000 --text 31000 --readers 64` syncs a simulated Salesforce
//! into SQLite, stores a text of this length in a field of each account, adds 200 contacts with such texts to
//! one of them, and calls every RPC of the public API in its largest form. It fails if an answer is larger
//! than 3 MiB, or an RPC was not called.
//!
//! Memory is the server's private memory (RssAnon), sampled every 5 ms: its peak during the call, and how
//! much of the peak the call added. Programs and environment as in the bench `truth`. Prints a table, and
//! JSON at the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use prost::Message;
use serde_json::{Value as Json, json};
use tether::policy;
use tether::proto::v1;
use tonic::transport::Channel;
use tonic::{Response, Status};
use world::{Api, GROUP, Place, Sim, programs};

/// The maximum size of an answer, in bytes.
const MOST: usize = 3 << 20;
const SERVICES: [&str; 3] = ["IntegrationService", "CompanyService", "GroupService"];

struct Asked {
    accounts: u32,
    text: usize,
    readers: usize,
    /// Contacts of one account.
    contacts: usize,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self {
            accounts: 10_000,
            text: 31_000,
            readers: 64,
            contacts: 200,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--accounts" => asked.accounts = value.parse().unwrap(),
                "--text" => asked.text = value.parse().unwrap(),
                "--readers" => asked.readers = value.parse().unwrap(),
                "--contacts" => asked.contacts = value.parse().unwrap(),
                _ => panic!("unknown: {word}"),
            }
        }
        asked
    }
}

/// The server's private memory in kB: the current value, and the maximum since it was last read.
struct Memory {
    pid: u32,
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

fn private_kb(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let (most, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (into, until) = (Arc::clone(&most), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                into.fetch_max(private_kb(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { pid, most, stop }
    }

    /// The current memory; the peak starts again from it.
    fn begin(&self) -> u64 {
        let now = private_kb(self.pid);
        self.most.store(now, Ordering::Relaxed);
        now
    }

    fn peak(&self) -> u64 {
        self.most.load(Ordering::Relaxed).max(private_kb(self.pid))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Row {
    bytes: usize,
    seconds: f64,
    peak_kb: u64,
    added_kb: u64,
    told: String,
}

/// The calls so far.
struct Table {
    memory: Memory,
    rows: BTreeMap<&'static str, Row>,
}

impl Table {
    /// Measures a unary call.
    async fn call<M: Message>(
        &mut self,
        rpc: &'static str,
        call: impl Future<Output = Result<Response<M>, Status>>,
    ) -> Option<M> {
        let (before, begun) = (self.memory.begin(), Instant::now());
        let answer = call.await;
        let seconds = begun.elapsed().as_secs_f64();
        let (bytes, told) = match &answer {
            Ok(answer) => (answer.get_ref().encoded_len(), String::new()),
            Err(status) => (
                status.message().len() + status.details().len(),
                format!("{:?}", status.code()),
            ),
        };
        self.add(rpc, before, bytes, seconds, told);
        answer.ok().map(Response::into_inner)
    }

    fn add(&mut self, rpc: &'static str, before: u64, bytes: usize, seconds: f64, told: String) {
        let peak_kb = self.memory.peak();
        let row = Row {
            bytes,
            seconds,
            peak_kb,
            added_kb: peak_kb.saturating_sub(before),
            told,
        };
        // Of several calls the largest counts.
        match self.rows.get_mut(rpc) {
            Some(known) if known.bytes >= row.bytes => known.added_kb = known.added_kb.max(row.added_kb),
            _ => drop(self.rows.insert(rpc, row)),
        }
    }

    /// Prints all rows; returns whether every answer is small enough and every RPC was called.
    fn print(&self) -> bool {
        println!("| rpc | bytes | seconds | peak MB | added MB | |");
        println!("|---|---:|---:|---:|---:|---|");
        for (rpc, row) in &self.rows {
            println!(
                "| {rpc} | {} | {:.3} | {:.1} | {:.1} | {} |",
                row.bytes,
                row.seconds,
                row.peak_kb as f64 / 1024.0,
                row.added_kb as f64 / 1024.0,
                row.told
            );
        }
        let all: BTreeSet<&str> = policy::TABLE
            .iter()
            .filter_map(|(rpc, ..)| rpc.strip_prefix("tether.v1."))
            .filter_map(|rpc| rpc.split_once('/'))
            .filter(|(service, _)| SERVICES.contains(service))
            .map(|(_, method)| method)
            .collect();
        let missing: Vec<_> = all.iter().filter(|rpc| !self.rows.contains_key(*rpc)).collect();
        if !missing.is_empty() {
            println!("not called: {missing:?}");
        }
        missing.is_empty() && self.rows.values().all(|row| row.bytes <= MOST)
    }
}

/// Writes the long texts directly into the database.
fn lengthen(place: &Place, asked: &Asked, contacts: bool) {
    let path = place.data.path().join("tether.db");
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let text = format!("replace(hex(zeroblob({})), '00', 'x')", asked.text);
    let mut sql = format!(
        "PRAGMA busy_timeout = 30000; \
         UPDATE record SET payload = json_set(payload, '$.Industry', external_id || {text}) WHERE object = 'Account';"
    );
    if contacts {
        let children = format!(
            "(SELECT external_id FROM record WHERE object = 'Contact' AND delete_us IS NULL \
             ORDER BY external_id LIMIT {})",
            asked.contacts
        );
        let account = "(SELECT external_id FROM record WHERE object = 'Account' AND delete_us IS NULL \
                       AND company_id IS NOT NULL ORDER BY external_id LIMIT 1)";
        sql += &format!(
            "UPDATE record SET payload = json_set(payload, '$.Title', external_id || {text}) \
             WHERE object = 'Contact' AND external_id IN {children};\
             UPDATE record_link SET parent_id = {account} WHERE child_object = 'Contact' AND child_id IN {children};\
             UPDATE record_child SET parent_id = {account} WHERE child_object = 'Contact' AND child_id IN {children};"
        );
    }
    conn.batch_execute(&sql).unwrap();
}

fn first_company(place: &Place) -> String {
    #[derive(diesel::QueryableByName)]
    struct Id {
        #[diesel(sql_type = diesel::sql_types::Text)]
        company_id: String,
    }
    let path = place.data.path().join("tether.db");
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let query = "SELECT company_id FROM record WHERE object = 'Account' AND delete_us IS NULL \
                 AND company_id IS NOT NULL ORDER BY external_id LIMIT 1";
    let id: Id = diesel::RunQueryDsl::get_result(diesel::sql_query(query), &mut conn).unwrap();
    format!("companies/{}", id.company_id)
}

const CONNECTOR: &str = "connectors/salesforce";

fn named(name: &str) -> String {
    name.to_owned()
}

/// Calls every rpc of the IntegrationService that is about one integration, or lists them.
async fn integrations(table: &mut Table, api: &Api, sim: &Sim, name: &str, sync: &str) {
    connectors(table, api).await;
    let fields = details(table, api, name).await;
    shares(table, api, name, &fields).await;
    syncs(table, api, name, sync).await;
    streams(table, api, sync).await;
    let draft = draft(table, api).await;
    assert!(api.try_log_in(sim, &draft).await);
    save(table, api, &draft, fields).await;
}

async fn connectors(table: &mut Table, api: &Api) {
    let of = || api.integrations();
    let request = v1::ListConnectorsRequest {
        parent: named(GROUP),
        page_size: 200,
        ..Default::default()
    };
    table
        .call("ListConnectors", of().list_connectors(api.ask(request)))
        .await;
    let request = v1::GetConnectorRequest {
        name: named(CONNECTOR),
        parent: named(GROUP),
    };
    table
        .call("GetConnector", of().get_connector(api.ask(request)))
        .await;
    let request = v1::EnableConnectorRequest {
        parent: named(GROUP),
        connector: named(CONNECTOR),
    };
    table
        .call("EnableConnector", of().enable_connector(api.ask(request)))
        .await;
}

/// One integration, the list, and the fields; answers the selected ones.
async fn details(table: &mut Table, api: &Api, name: &str) -> Vec<String> {
    let of = || api.integrations();
    let request = v1::GetIntegrationRequest { name: named(name) };
    let whole = table
        .call("GetIntegration", of().get_integration(api.ask(request)))
        .await
        .unwrap();
    let request = v1::ListIntegrationsRequest {
        parent: named(GROUP),
        page_size: 200,
        ..Default::default()
    };
    table
        .call("ListIntegrations", of().list_integrations(api.ask(request)))
        .await;
    let request = v1::UpdateIntegrationRequest {
        integration: Some(v1::Integration {
            name: named(name),
            display_name: "Truth again".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    table
        .call("UpdateIntegration", of().update_integration(api.ask(request)))
        .await;
    let request = v1::ListAvailableFieldsRequest {
        parent: named(name),
        page_size: 2_000,
        ..Default::default()
    };
    table
        .call(
            "ListAvailableFields",
            of().list_available_fields(api.ask(request)),
        )
        .await;
    let request = v1::SearchShareableGroupsRequest {
        parent: named(GROUP),
        page_size: 200,
        integration: named(name),
        ..Default::default()
    };
    table
        .call(
            "SearchShareableGroups",
            of().search_shareable_groups(api.ask(request)),
        )
        .await;
    let request = v1::ReviewIntegrationRequest {
        name: named(name),
        ..Default::default()
    };
    table
        .call("ReviewIntegration", of().review_integration(api.ask(request)))
        .await;
    let request = v1::ListFieldsRequest {
        parent: named(name),
        page_size: 2_000,
        ..Default::default()
    };
    table.call("ListFields", of().list_fields(api.ask(request))).await;
    let request = v1::BatchUpdateFieldActivationRequest {
        parent: named(name),
        active_fields: whole.selected_fields.clone(),
        ..Default::default()
    };
    table
        .call(
            "BatchUpdateFieldActivation",
            of().batch_update_field_activation(api.ask(request)),
        )
        .await;
    whole.selected_fields
}

async fn shares(table: &mut Table, api: &Api, name: &str, fields: &[String]) {
    let of = || api.integrations();
    let share = format!("{name}/shares/globex");
    let request = v1::SetShareRequest {
        share: Some(v1::Share {
            name: share.clone(),
            fields: fields.to_vec(),
            ..Default::default()
        }),
    };
    table.call("SetShare", of().set_share(api.ask(request))).await;
    let request = v1::ListSharesRequest {
        parent: named(name),
        page_size: 500,
        ..Default::default()
    };
    table.call("ListShares", of().list_shares(api.ask(request))).await;
    let request = v1::RemoveShareRequest { name: share };
    table
        .call("RemoveShare", of().remove_share(api.ask(request)))
        .await;
    let request = v1::DisconnectIntegrationRequest { name: named(name) };
    table
        .call(
            "DisconnectIntegration",
            of().disconnect_integration(api.ask(request)),
        )
        .await;
    let request = v1::ConnectIntegrationRequest { name: named(name) };
    table
        .call("ConnectIntegration", of().connect_integration(api.ask(request)))
        .await;
}

async fn syncs(table: &mut Table, api: &Api, name: &str, sync: &str) {
    let of = || api.integrations();
    let request = v1::GetSyncRequest { name: named(sync) };
    table.call("GetSync", of().get_sync(api.ask(request))).await;
    let request = v1::ListSyncsRequest {
        parent: named(name),
        page_size: 100,
        ..Default::default()
    };
    table.call("ListSyncs", of().list_syncs(api.ask(request))).await;
    let request = v1::CancelSyncRequest { name: named(sync) };
    table.call("CancelSync", of().cancel_sync(api.ask(request))).await;
    let request = v1::ListAuditEntriesRequest {
        parent: named(GROUP),
        page_size: 500,
        ..Default::default()
    };
    table
        .call("ListAuditEntries", of().list_audit_entries(api.ask(request)))
        .await;
}

/// A draft, up to its login; answers its name.
async fn draft(table: &mut Table, api: &Api) -> String {
    let of = || api.integrations();
    let request = v1::CreateIntegrationRequest {
        parent: named(GROUP),
        integration: Some(v1::Integration {
            display_name: "n".repeat(100),
            connector: named(CONNECTOR),
            ..Default::default()
        }),
        ..Default::default()
    };
    let draft = table
        .call("CreateIntegration", of().create_integration(api.ask(request)))
        .await
        .unwrap()
        .name;
    let request = v1::BeginAuthorizationRequest {
        name: draft.clone(),
        redirect_uri: "http://127.0.0.1:9/cb".to_owned(),
        ..Default::default()
    };
    table
        .call("BeginAuthorization", of().begin_authorization(api.ask(request)))
        .await;
    let request = v1::CompleteAuthorizationRequest {
        state: "s".repeat(512),
        callback_parameters: [("code".to_owned(), "c".repeat(8_192))].into(),
    };
    table
        .call(
            "CompleteAuthorization",
            of().complete_authorization(api.ask(request)),
        )
        .await;
    let request = v1::AuthorizeWithCredentialsRequest {
        name: draft.clone(),
        auth_kind: v1::AuthKind::JwtBearer as i32,
        parameters: [("username".to_owned(), "u".repeat(16_384))].into(),
    };
    table
        .call(
            "AuthorizeWithCredentials",
            of().authorize_with_credentials(api.ask(request)),
        )
        .await;
    draft
}

async fn save(table: &mut Table, api: &Api, draft: &str, fields: Vec<String>) {
    let of = || api.integrations();
    let request = v1::UpdateIntegrationRequest {
        integration: Some(v1::Integration {
            name: named(draft),
            selected_fields: fields,
            ..Default::default()
        }),
        ..Default::default()
    };
    table
        .call("UpdateIntegration", of().update_integration(api.ask(request)))
        .await;
    let request = v1::ActivateIntegrationRequest {
        name: named(draft),
        validate_only: true,
        ..Default::default()
    };
    table
        .call("ActivateIntegration", of().activate_integration(api.ask(request)))
        .await;
    let request = v1::SyncIntegrationRequest {
        name: named(draft),
        ..Default::default()
    };
    table
        .call("SyncIntegration", of().sync_integration(api.ask(request)))
        .await;
    let request = v1::DeleteIntegrationRequest {
        name: named(draft),
        ..Default::default()
    };
    table
        .call("DeleteIntegration", of().delete_integration(api.ask(request)))
        .await;
}

/// The first message of each stream.
async fn streams(table: &mut Table, api: &Api, sync: &str) {
    let (before, begun) = (table.memory.begin(), Instant::now());
    let request = v1::WatchSyncRequest {
        name: sync.to_owned(),
    };
    let stream = api.integrations().watch_sync(api.ask(request)).await;
    let message = stream.unwrap().into_inner().message().await.unwrap().unwrap();
    table.add(
        "WatchSync",
        before,
        message.encoded_len(),
        begun.elapsed().as_secs_f64(),
        String::new(),
    );
    let (before, begun) = (table.memory.begin(), Instant::now());
    let request = v1::WatchGroupRequest {
        parent: GROUP.to_owned(),
        ..Default::default()
    };
    let stream = api.integrations().watch_group(api.ask(request)).await;
    let message = stream.unwrap().into_inner().message().await.unwrap().unwrap();
    table.add(
        "WatchGroup",
        before,
        message.encoded_len(),
        begun.elapsed().as_secs_f64(),
        String::new(),
    );
    let (before, begun) = (table.memory.begin(), Instant::now());
    let request = v1::ExportCompaniesRequest {
        parent: GROUP.to_owned(),
        ..Default::default()
    };
    let told = match api.companies().export_companies(api.ask(request)).await {
        Ok(_) => String::new(),
        Err(status) => format!("{:?}", status.code()),
    };
    table.add("ExportCompanies", before, 0, begun.elapsed().as_secs_f64(), told);
}

fn wide_list(page_token: String) -> v1::ListCompaniesRequest {
    v1::ListCompaniesRequest {
        parent: GROUP.to_owned(),
        page_size: 1_000,
        columns: [
            "Account.Name",
            "Account.Industry",
            "Contact.Title",
            "Contact.Email",
            "Opportunity.StageName",
            "Opportunity.Amount",
        ]
        .map(|key| format!("truth.{key}"))
        .to_vec(),
        filter: "truth.Account.Name:* OR tracked = true".to_owned(),
        order_by: "truth.Account.Name desc".to_owned(),
        show_total_size: true,
        page_token,
        ..Default::default()
    }
}

async fn companies(table: &mut Table, api: &Api, company: &str) {
    let of = || api.companies();
    // Every page, each company once.
    let (mut names, mut token, mut pages, mut total) = (BTreeSet::new(), String::new(), 0, 0);
    loop {
        let request = wide_list(token);
        let page = table
            .call("ListCompanies", of().list_companies(api.ask(request)))
            .await
            .unwrap();
        pages += 1;
        total = page.total_size.unwrap_or_default().max(total);
        for one in page.companies {
            assert!(names.insert(one.name), "a company twice");
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len() as i64, total);
    println!("ListCompanies: {total} companies on {pages} pages, each once");
    let request = v1::GetCompanyRequest {
        name: company.to_owned(),
        parent: GROUP.to_owned(),
    };
    table.call("GetCompany", of().get_company(api.ask(request))).await;
    let (mut token, mut pages, mut records) = (String::new(), 0, 0);
    loop {
        let request = v1::GetCompanyProfileRequest {
            name: company.to_owned(),
            parent: GROUP.to_owned(),
            refresh: v1::get_company_profile_request::Refresh::Never as i32,
            related_limit: 200,
            page_token: token,
            ..Default::default()
        };
        let page = table
            .call("GetCompanyProfile", of().get_company_profile(api.ask(request)))
            .await
            .unwrap();
        pages += 1;
        let tables = page.cards.iter().flat_map(|card| &card.related);
        records += tables.map(|table| table.records.len()).sum::<usize>();
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    println!("GetCompanyProfile: {records} related records on {pages} pages");
    let request = v1::ListSourcesRequest {
        parent: GROUP.to_owned(),
        page_size: 200,
        ..Default::default()
    };
    table
        .call("ListSources", of().list_sources(api.ask(request)))
        .await;
    let known = names.iter().take(1_000).cloned();
    let track = known.clone().map(|name| v1::CompanyToTrack {
        company: Some(v1::company_to_track::Company::Name(name)),
    });
    let request = v1::TrackCompaniesRequest {
        parent: GROUP.to_owned(),
        companies: track.collect(),
    };
    table
        .call("TrackCompanies", of().track_companies(api.ask(request)))
        .await;
    let request = v1::UntrackCompaniesRequest {
        parent: GROUP.to_owned(),
        names: known.collect(),
    };
    table
        .call("UntrackCompanies", of().untrack_companies(api.ask(request)))
        .await;
    let request = v1::AggregateCompaniesRequest {
        parent: GROUP.to_owned(),
        ..Default::default()
    };
    table
        .call("AggregateCompanies", of().aggregate_companies(api.ask(request)))
        .await;
}

async fn platform(table: &mut Table, api: &Api) {
    let of = || api.groups();
    for number in 0..1_000 {
        let request = v1::UpsertGroupRequest {
            group: Some(v1::Group {
                name: format!("groups/g{number}"),
                display_name: "ü".repeat(100),
                ..Default::default()
            }),
        };
        table
            .call("UpsertGroup", of().upsert_group(api.ask(request)))
            .await;
    }
    let two = (GROUP.to_owned(), "groups/globex".to_owned());
    let request = v1::ConnectGroupsRequest {
        group: two.0.clone(),
        other_group: two.1.clone(),
    };
    table
        .call("ConnectGroups", of().connect_groups(api.ask(request)))
        .await;
    let request = v1::ListGroupsRequest {
        page_size: 1_000,
        ..Default::default()
    };
    table.call("ListGroups", of().list_groups(api.ask(request))).await;
    let request = v1::ConnectGroupsRequest {
        group: "groups/g1".to_owned(),
        other_group: "groups/g2".to_owned(),
    };
    table
        .call("ConnectGroups", of().connect_groups(api.ask(request)))
        .await;
    let request = v1::DisconnectGroupsRequest {
        group: "groups/g1".to_owned(),
        other_group: "groups/g2".to_owned(),
    };
    table
        .call("DisconnectGroups", of().disconnect_groups(api.ask(request)))
        .await;
    let request = v1::DeleteGroupRequest {
        name: "groups/g1".to_owned(),
    };
    table
        .call("DeleteGroup", of().delete_group(api.ask(request)))
        .await;
    let request = v1::BatchUpsertCompaniesRequest::default();
    table
        .call(
            "BatchUpsertCompanies",
            api.companies().batch_upsert_companies(api.ask(request)),
        )
        .await;
}

/// Calls a unary RPC and does not read the answer.
async fn unread(channel: &Channel, api: &Api) -> Result<tonic::Streaming<v1::ListCompaniesResponse>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = "/tether.v1.CompanyService/ListCompanies".parse().unwrap();
    let codec = tonic_prost::ProstCodec::default();
    let request = api.ask(wide_list(String::new()));
    Ok(client.server_streaming(request, path, codec).await?.into_inner())
}

async fn readers(memory: &Memory, grpc: &str, api: &Api, count: usize) -> Json {
    let before = memory.begin();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (grpc, api) = (grpc.to_owned(), api.clone());
        calls.spawn(async move {
            let channel = Channel::from_shared(grpc).unwrap().connect().await.unwrap();
            let answer = unread(&channel, &api).await;
            answer
                .map(|answer| (channel, answer))
                .map_err(|status| status.code())
        });
    }
    let (mut open, mut refused) = (Vec::new(), 0);
    while let Some(call) = calls.join_next().await {
        match call.unwrap() {
            Ok(held) => open.push(held),
            Err(_) => refused += 1,
        }
    }
    let held = private_kb(memory.pid);
    let said = json!({
        "readers": count, "answers held": open.len(), "refused": refused,
        "before_mb": before / 1024, "peak_mb": memory.peak() / 1024, "held_mb": held / 1024,
    });
    drop(open);
    said
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let asked = Asked::read();
    let scratch = tempfile::tempdir().unwrap();
    let (bin, connectors) = programs(scratch.path());
    let sim = Sim::start(&bin, asked.accounts, 1);
    let place = Place {
        bin,
        connectors,
        data: tempfile::tempdir().unwrap(),
        database: None,
        sim: sim.host.clone(),
        lease_seconds: 30,
        refresh_seconds: 120,
        more: Vec::new(),
    };
    let server = place.start();
    let memory = Memory::watch(server.process.0.id());
    let api = Api::connect(&server, &place.token()).await;
    let service = Api::connect(&server, &place.token_for(&["--role", "service"])).await;
    let selected = [
        "Account.Name",
        "Account.Industry",
        "Contact.Email",
        "Contact.Title",
        "Opportunity.StageName",
        "Opportunity.Amount",
    ];
    let sync = api.connect_crm(&sim, selected.map(str::to_owned).to_vec()).await;
    let done = api.succeeded(&sync.name).await;
    let name = sync.name.split("/syncs/").next().unwrap().to_owned();
    loop {
        let request = v1::ListCompaniesRequest {
            parent: GROUP.to_owned(),
            page_size: 1,
            at_least: vec![v1::SourcePosition {
                integration: name.clone(),
                change_number: done.change_number,
                time: None,
            }],
            ..Default::default()
        };
        if api.companies().list_companies(api.ask(request)).await.is_ok() {
            break;
        }
    }
    lengthen(&place, &asked, true);
    let company = first_company(&place);
    let mut table = Table {
        memory,
        rows: BTreeMap::new(),
    };
    platform(&mut table, &service).await;
    companies(&mut table, &api, &company).await;
    integrations(&mut table, &api, &sim, &name, &sync.name).await;
    let request = v1::DisableConnectorRequest {
        parent: GROUP.to_owned(),
        connector: "connectors/salesforce".to_owned(),
    };
    let readers = readers(&table.memory, &server.grpc, &api, asked.readers).await;
    table
        .call(
            "DisableConnector",
            api.integrations().disable_connector(api.ask(request)),
        )
        .await;
    let good = table.print();
    println!("{readers}");
    assert!(good, "an answer is too large, or an rpc was not called");
}
