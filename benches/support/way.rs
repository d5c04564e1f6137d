//! The ways in which the bench `faults` has the data read.

#![allow(dead_code, reason = "each bench uses a part")]

use rand::Rng as _;
use rand::rngs::StdRng;
use tether::proto::v1;
use tether::proto::v1::sync::Mode;

use super::truth::FIELDS;
use super::world::{Api, GROUP};

/// A path that all requests for data begin with.
pub(crate) const DATA: &str = "/services/data/v62.0/";
const QUERY: &str = "/services/data/v62.0/query";
const BULK: &str = "/services/data/v62.0/jobs/query";

/// Random changes of the simulator that syncs follow, with all that is due.
pub(crate) const CHANGES: [&str; 8] = [
    "create", "update", "delete", "undelete", "purge", "merge", "move", "late",
];
/// Arguments of the simulator: enough for several pages of one object, under few companies, and for the guard of removals.
pub(crate) const CONTACTS: &[&str] = &["--contacts", "2300", "--cases", "300"];

/// Fields that the way `fill` deselects and selects again.
const FILLED: [&str; 3] = ["Account.Industry", "Contact.Title", "Opportunity.Amount"];

/// What a sync reads, and by which API; or profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything, by REST.
    Rest,
    /// Everything, by Bulk 2.0.
    Bulk,
    /// What changed.
    Incremental,
    /// What changed, and newly selected fields of all records.
    Fill,
    /// What changed, and all ids.
    Sweep,
    /// The records of some companies, for their profiles.
    Live,
}

impl Way {
    pub(crate) const ALL: [Self; 6] = [
        Self::Rest,
        Self::Bulk,
        Self::Incremental,
        Self::Fill,
        Self::Sweep,
        Self::Live,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Bulk => "bulk",
            Self::Incremental => "incremental",
            Self::Fill => "fill",
            Self::Sweep => "sweep",
            Self::Live => "live",
        }
    }

    /// The server's settings.
    pub(crate) fn settings(self) -> Vec<(&'static str, String)> {
        let bulk_rows = if self == Self::Bulk { "1" } else { "0" };
        let mut settings = vec![("connector.salesforce.settings.bulk_rows", bulk_rows.to_owned())];
        if self == Self::Sweep {
            settings.push(("sync.sweep_hours", "0".to_owned()));
        }
        settings
    }

    /// The path of the requests that faults concern.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Rest => QUERY,
            Self::Bulk => BULK,
            _ => DATA,
        }
    }

    /// How many of these requests pass before a fault.
    pub(crate) fn skip(self, dice: &mut StdRng) -> u32 {
        match self {
            Self::Rest => dice.random_range(1..6),
            Self::Bulk => dice.random_range(0..16),
            Self::Fill | Self::Sweep => dice.random_range(0..6),
            Self::Incremental | Self::Live => 0,
        }
    }

    /// A CRM that leaves out rows without saying so is noticed by a listing only.
    pub(crate) fn lists(self) -> bool {
        !matches!(self, Self::Incremental | Self::Live)
    }

    /// Before the fault.
    pub(crate) async fn prepare(self, api: &Api, integration: &str) {
        if self == Self::Fill {
            select(api, integration, |field| !FILLED.contains(&field)).await;
            let sync = api.sync_now(integration).await;
            api.succeeded(&sync).await;
        }
    }

    /// Starts the sync.
    pub(crate) async fn begin(self, api: &Api, integration: &str) -> String {
        match self {
            Self::Rest | Self::Bulk => sync(api, integration, Mode::Full).await,
            Self::Fill => {
                select(api, integration, |_| true).await;
                let list = v1::ListSyncsRequest {
                    parent: integration.to_owned(),
                    page_size: 1,
                    ..Default::default()
                };
                let listed = api.integrations().list_syncs(api.ask(list)).await.unwrap();
                listed.into_inner().syncs.remove(0).name
            }
            _ => sync(api, integration, Mode::Incremental).await,
        }
    }
}

/// Starts a sync.
pub(crate) async fn sync(api: &Api, integration: &str, mode: Mode) -> String {
    let sync = v1::SyncIntegrationRequest {
        name: integration.to_owned(),
        mode: mode.into(),
        ..Default::default()
    };
    let started = api.integrations().sync_integration(api.ask(sync)).await;
    started.unwrap().into_inner().name
}

/// Selects those of all fields that `keeps` names, as `Object.Field`.
async fn select(api: &Api, integration: &str, keeps: impl Fn(&str) -> bool) {
    let all = FIELDS
        .iter()
        .flat_map(|(object, fields)| fields.iter().map(move |(field, _)| format!("{object}.{field}")));
    let update = v1::UpdateIntegrationRequest {
        integration: Some(v1::Integration {
            name: integration.to_owned(),
            selected_fields: all.filter(|field| keeps(field)).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    api.integrations()
        .update_integration(api.ask(update))
        .await
        .unwrap();
}

/// What profiles of some companies said: whether each was live, and why not.
pub(crate) async fn open(api: &Api, companies: &[String]) -> Vec<String> {
    let mut said = Vec::new();
    for name in companies {
        let get = v1::GetCompanyProfileRequest {
            name: name.clone(),
            parent: GROUP.to_owned(),
            refresh_timeout: Some(prost_types::Duration { seconds: 6, nanos: 0 }),
            ..Default::default()
        };
        let profile = api.companies().get_company_profile(api.ask(get)).await;
        said.push(match profile {
            Ok(profile) => {
                let cards = profile.into_inner().cards;
                let freshness = cards.first().and_then(|card| card.freshness.clone());
                match freshness {
                    Some(fresh) if fresh.live => "live".to_owned(),
                    Some(fresh) => fresh.stale_reason.map_or_else(
                        || "stale without a reason".to_owned(),
                        |cause| format!("{}: {}", cause.reason().as_str_name(), cause.message),
                    ),
                    None => "no card".to_owned(),
                }
            }
            Err(status) if status.code() == tonic::Code::NotFound => "gone".to_owned(),
            Err(status) => format!("refused: {status:?}"),
        });
    }
    said
}
