//! A company's profile: one card per source, read live from the CRM each time it is opened. If the CRM is
//! slow or down, the card shows the stored data with its age and the cause; this is never an error.

use super::company::CompanyView;
use super::connector::company_object;
use super::errors::for_receivers;
use super::field::logged_in;
use super::refreshes::{Outcome, RECEIVED_PER_MINUTE};
use super::{Services, require_own_group};
use crate::caller::Caller;
use crate::credentials::{Purpose, deadline};
use crate::domain::{CallKind, CompanyId, FieldType, GroupId, IntegrationId, IntegrationState, Micros};
use crate::error::{Error, Reason, Result};
use crate::ingest;
use crate::picklist::LazyPicklist;
use crate::store::{
    ChildSet, CompanyRecordKey, FieldRef, Integration, RecordBatch, RecordContent, Refresh, SeenField, Source,
};
use crate::time::{now_us, read_time};
use crate::value::{self, Shown, Value};
use futures_util::future::try_join_all;
use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::time::Duration;
use tether_connector_proto::{DescribeResponse, FetchCompanyRequest, ObjectRole};

/// How long a live read goes on after its opener was shown what is stored.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Most records of one company that are read live.
const MOST_RECORDS: usize = 20;
/// Most characters of a text on a card: as long as texts of CRMs usually may be.
const MOST_CHARACTERS: usize = 131_072;
/// Most related records of one object that are read live.
const RELATED_LIMIT: u32 = 200;

/// When to read live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshPolicy {
    /// Each time.
    Always,
    /// If what is stored is older than this.
    IfOlderThan(Duration),
    /// Not at all.
    Never,
}

/// A profile that was opened: its sources are read live as far as they answered in time. The cards are read one after the
/// other, [`Services::profile_card`], and their records in parts, [`Services::profile_records`].
pub struct Profile {
    /// The company.
    pub company: CompanyView,
    /// The sources that hold it, the oldest first: one card each.
    pub sources: Vec<Source>,
    group: GroupId,
    id: CompanyId,
    outcomes: Vec<Option<Outcome>>,
}

/// What one source shows, but for the records.
#[derive(Debug, Clone)]
pub struct Card {
    /// The source.
    pub source: Source,
    /// The connector's name.
    pub connector: String,
    /// The owner's name.
    pub group: String,
    /// How fresh it is.
    pub freshness: Freshness,
    /// The company records, then the related ones by object.
    pub tables: Vec<Table>,
    /// A change number that includes all of them.
    pub change_no: i64,
}

/// How fresh a card is.
#[derive(Debug, Clone)]
pub struct Freshness {
    /// When the CRM was last asked.
    pub read_us: i64,
    /// Whether that was for this opening, or seconds before it.
    pub live: bool,
    /// Why it is not.
    pub stale: Option<(Reason, String)>,
}

/// Records of one object: where they are.
#[derive(Debug, Clone)]
pub struct Table {
    /// The object's key.
    pub object: String,
    /// The name people see.
    pub label: String,
    /// What it is to tether.
    pub role: ObjectRole,
    /// The fields the group sees.
    pub columns: Vec<Column>,
    /// How many records there are in all.
    pub total: i64,
    /// The records in their order, (when last changed, id); related ones as many as were asked for.
    pub keys: Vec<(Micros, String)>,
    /// Whether records are named even if no field that is shown has their name.
    names: bool,
}

/// A column of a card.
#[derive(Debug, Clone)]
pub struct Column {
    /// The field's key.
    pub key: String,
    /// The name people see.
    pub label: String,
    /// Its type.
    pub field_type: FieldType,
    /// Whether it is active for the group.
    pub active: bool,
    /// Whether it is gone in the CRM.
    pub missing: bool,
    /// The labels of its entries, if it is a picklist.
    picklist: LazyPicklist,
}

/// A record of a card.
#[derive(Debug, Clone)]
pub struct RelatedRecord {
    /// Its id in the CRM.
    pub external_id: String,
    /// The name people know it by.
    pub name: String,
    /// Its values, in the order of the columns.
    pub values: Vec<Option<Shown>>,
    /// When it was last changed in the CRM; 0 for unknown.
    pub modified_us: i64,
}

impl Services {
    /// Opens a profile.
    ///
    /// # Errors
    /// NOT_FOUND unless a source or the group's own list holds the company. What the CRM answers is never an error: it
    /// stands in the card's freshness.
    pub async fn profile(
        &self,
        caller: &Caller,
        parent: &GroupId,
        id: CompanyId,
        (policy, timeout): (RefreshPolicy, Duration),
        only: &[IntegrationId],
    ) -> Result<Profile> {
        require_own_group(caller, parent)?;
        let sources = self.sources_among(parent, only).await?;
        let ids: Vec<_> = sources.iter().map(|source| source.integration.id).collect();
        let stored = self.store.company_get(parent, ids.clone(), id).await?;
        let stored = stored.ok_or_else(|| Error::not_found(id.name()))?;
        let before = CompanyView::new(stored, &sources);
        let outcomes = try_join_all(
            before
                .sources
                .iter()
                .map(|source| self.refresh(parent, source, id, policy, timeout)),
        )
        .await?;
        // The live read may have found the company's last record deleted, or of another company: then the name of before
        // stays, without sources and cards.
        let after = self.store.company_get(parent, ids, id).await?;
        let held = before.sources.clone();
        let company = match after {
            Some(company) => CompanyView::new(company, &sources),
            None => CompanyView {
                sources: Vec::new(),
                ..before
            },
        };
        Ok(Profile {
            company,
            sources: held,
            group: parent.clone(),
            id,
            outcomes,
        })
    }

    /// Reads live if the policy asks for it; `None` where it does not.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE: without the age of what is stored it is not known whether the CRM is to be asked.
    async fn refresh(
        &self,
        group: &GroupId,
        of: &Source,
        id: CompanyId,
        policy: RefreshPolicy,
        patience: Duration,
    ) -> Result<Option<Outcome>> {
        let source = &of.integration;
        match policy {
            RefreshPolicy::Always => {}
            RefreshPolicy::Never => return Ok(None),
            RefreshPolicy::IfOlderThan(age) => {
                let records = self.store.record_company_keys(source.id, vec![id]).await?;
                if now_us() - read_us(source, &records) <= age.as_micros() as i64 {
                    return Ok(None);
                }
            }
        }
        if source.state != IntegrationState::Active {
            return Ok(Some(Err(needs_login(source))));
        }
        // A receiver's opens use the owner's account and allowance.
        let key = (source.id, id);
        if !of.is_owned()
            && !self.refreshes.is_fresh(key)
            && !self.refreshes.keeps_pace(group, source.id).await
        {
            let text = format!(
                "the group opened more than {RECEIVED_PER_MINUTE} profiles a minute through another group's account"
            );
            return Ok(Some(Err((Reason::RefreshLimited, text))));
        }
        let (services, source) = (self.clone(), source.clone());
        let fetch = async move { services.fetch(&source, id).await };
        let outcome = match tokio::time::timeout(patience, self.refreshes.read(key, fetch)).await {
            Ok(outcome) => outcome,
            Err(_) => Err((
                Reason::CrmUnavailable,
                format!("the CRM has not answered within {patience:?}"),
            )),
        };
        metrics::counter!("tether_profile_total", "outcome" => if outcome.is_ok() { "live" } else { "stored" }).increment(1);
        Ok(Some(outcome))
    }

    /// One live read, stored.
    async fn fetch(&self, source: &Integration, id: CompanyId) -> Outcome {
        match self.fetch_and_store(source, id).await {
            Ok(read_us) => Ok(read_us),
            Err(error) => {
                tracing::info!(integration = %source.id, company = %id, "no live read of company {id}: {error}");
                Err((error.reason, error.message))
            }
        }
    }

    async fn fetch_and_store(&self, source: &Integration, id: CompanyId) -> Result<i64> {
        let credential_id = logged_in(source)?;
        let (_, describe) = self.usable(&source.connector)?;
        let company_object = company_object(&describe);
        let records = self.store.record_company_keys(source.id, vec![id]).await?;
        let external_ids: Vec<String> = records
            .iter()
            .take(MOST_RECORDS)
            .map(|record| record.external_id.clone())
            .collect();
        let fields = self.store.field_list(source.id).await?;
        let selection = ingest::selection(
            &describe.objects,
            fields.iter().filter(|field| field.missing_us.is_none()),
        );
        let purpose = Purpose {
            credential_id,
            integration_id: source.id,
            budget: source.budget(),
            kind: CallKind::Profile,
        };
        let answer = self
            .credentials
            .call(purpose, &source.connector, |connector, connection| {
                let request = FetchCompanyRequest {
                    connection: Some(connection),
                    external_ids: external_ids.clone(),
                    selection: selection.clone(),
                    related_limit: RELATED_LIMIT,
                };
                async move { connector.fetch_company(request, deadline(FETCH_TIMEOUT)).await }
            })
            .await
            .map_err(super::errors::of_integration(source.id))?;
        let now = now_us();
        let read = read_time(answer.read_time_us);
        let timed = answer.read_time_us > 0;
        let credential = self.store.credential_get(credential_id).await?;
        let rows_of = ingest::Source {
            integration_id: source.id,
            connector: source.connector.clone(),
            organization_id: credential.organization_id,
            company_object: company_object.clone(),
        };
        let (mut batches, mut complete, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for result in answer.objects {
            missing.extend(result.missing_fields.into_iter().map(|key| FieldRef {
                object: result.object.clone(),
                key,
            }));
            if let Some(error) = result.error {
                if result.object == company_object {
                    return Err(crate::connectors::Error::from_connector(&source.connector, error).into());
                }
                tracing::info!(integration = %source.id, "{} not read live: {}", result.object, error.message);
                continue;
            }
            if result.object != company_object && !result.more {
                complete.extend(external_ids.iter().map(|parent_id| ChildSet {
                    parent_object: company_object.clone(),
                    parent_id: parent_id.clone(),
                    child_object: result.object.clone(),
                }));
            }
            let rows = ingest::rows(&rows_of, &result.object, result.records, timed).map_err(|error| {
                tracing::error!(integration = %source.id, "{error}");
                Error::new(Reason::ConnectorFault, error.to_string())
            })?;
            batches.push(RecordBatch {
                object: result.object,
                rows,
                complete_range: None,
                read,
                partial: None,
            });
        }
        if !missing.is_empty() {
            self.store.field_mark_missing(source.id, missing, now).await?;
        }
        let refresh = Refresh {
            integration_id: source.id,
            generation: source.generation,
            batches,
            complete,
            read,
            now_us: now,
        };
        self.store.record_refresh(refresh).await?;
        // People compare it with their own clocks: it was not read later than now.
        Ok(read.us.min(now))
    }

    /// The card of a source, out of what is stored; `None` where the source holds the company no more.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn profile_card(
        &self,
        profile: &Profile,
        at: usize,
        related_limit: usize,
    ) -> Result<Option<Card>> {
        let Some(of) = profile.sources.get(at) else {
            return Ok(None);
        };
        let outcome = profile.outcomes.get(at).cloned().flatten();
        let source = &of.integration;
        let records = self
            .store
            .record_company_keys(source.id, vec![profile.id])
            .await?;
        let Some(first) = records.first() else {
            return Ok(None);
        };
        let company_object = first.object.clone();
        let fields = self.seen_fields(&profile.group, source.id).await?;
        let group = self.store.group_get(&source.group_id).await?;
        // A connector that is gone from the folder still has its data: keys stand for labels.
        let describe = self
            .usable(&source.connector)
            .map(|(_, describe)| describe)
            .unwrap_or_default();
        let stored_us = read_us(source, &records);
        let parents: Vec<String> = records.into_iter().map(|record| record.external_id).collect();
        let mut objects: Vec<&str> = Vec::new();
        for one in fields.iter().filter(|one| one.field.object != company_object) {
            if !objects.contains(&one.field.object.as_str()) {
                objects.push(&one.field.object);
            }
        }
        let place = |key: &str| describe.objects.iter().position(|object| object.key == key);
        objects.sort_by_key(|key| place(key).unwrap_or(usize::MAX));
        let own = parents.iter().map(|id| (0, id.clone())).collect();
        let mut tables = vec![Table {
            total: parents.len() as i64,
            keys: own,
            names: true,
            ..table(&describe, &company_object, &fields)
        }];
        for object in objects {
            let mut keys = self
                .store
                .record_related_keys(source.id, &company_object, parents.clone(), object)
                .await?;
            let total = keys.len() as i64;
            keys.truncate(related_limit);
            tables.push(Table {
                total,
                keys,
                names: of.is_owned(),
                ..table(&describe, object, &fields)
            });
        }
        Ok(Some(Card {
            tables,
            source: of.clone(),
            connector: if describe.display_name.is_empty() {
                source.connector.clone()
            } else {
                describe.display_name
            },
            group: group.display_name,
            freshness: freshness(of, outcome, stored_us),
            // Read after the keys of the records.
            change_no: self.store.record_change_no(source.id).await?,
        }))
    }

    /// Some of the records of a card's table, from this place among its keys on: about so many bytes of them, but one at
    /// least, and the place after the last that was looked at. Texts are shown from this character on.
    ///
    /// # Errors
    /// STORAGE_UNAVAILABLE.
    pub async fn profile_records(
        &self,
        card: &Card,
        table: &Table,
        from: usize,
        most_bytes: usize,
        text_from: usize,
    ) -> Result<(Vec<(usize, RelatedRecord)>, usize)> {
        let ids: Vec<String> = table.keys[from.min(table.keys.len())..]
            .iter()
            .map(|(_, id)| id.clone())
            .collect();
        let last = table.keys.len();
        let most_bytes = most_bytes.max(1);
        let place: HashMap<String, usize> = ids.iter().cloned().zip(from..).collect();
        let (columns, names) = (table.columns.clone(), table.names);
        let made = (Vec::new(), last, 0);
        let each = move |(records, reached, bytes): &mut (Vec<_>, usize, usize), row: RecordContent| {
            let Some(at) = place.get(&row.external_id).copied() else {
                return true;
            };
            if *bytes >= most_bytes {
                *reached = at;
                return false;
            }
            *bytes += row.payload.len();
            records.push((at, shown(&columns, names, row, text_from)));
            true
        };
        let id = card.source.integration.id;
        let read = self.store.record_each(id, &table.object, ids, made, each);
        let (records, reached, _) = read.await?;
        Ok((records, reached))
    }
}

/// How fresh a card is that was last known to be right at this time.
fn freshness(of: &Source, outcome: Option<Outcome>, stored_us: i64) -> Freshness {
    match outcome {
        Some(Ok(read_us)) => Freshness {
            read_us,
            live: true,
            stale: None,
        },
        Some(Err((reason, message))) => Freshness {
            read_us: stored_us,
            live: false,
            // Only the owner sees the CRM's message.
            stale: Some((
                reason,
                if of.is_owned() || reason == Reason::RefreshLimited {
                    message
                } else {
                    for_receivers(reason)
                },
            )),
        },
        None => Freshness {
            read_us: stored_us,
            live: false,
            stale: None,
        },
    }
}

/// Why an integration that needs a login is not read: as its state says it.
fn needs_login(source: &Integration) -> (Reason, String) {
    let known = Reason::ALL
        .iter()
        .find(|known| known.as_str() == source.state_reason);
    let lead = "the integration has to be logged in again; what is shown was read before";
    let message = match source.state_message.as_str() {
        "" => lead.to_owned(),
        message => format!("{lead}: {message}"),
    };
    (known.copied().unwrap_or(Reason::CredentialsRevoked), message)
}

/// When stored records were last known to be as the CRM has them: their own last read, or the last whole sync, which
/// left unchanged ones as they were. Calculated fields, of which a CRM reports no changes, may be older.
fn read_us(source: &Integration, records: &[CompanyRecordKey]) -> i64 {
    let own = records
        .iter()
        .map(|record| record.read_us)
        .min()
        .unwrap_or_default();
    own.max(source.last_success_us.unwrap_or_default())
}

/// The head of a table.
fn table(describe: &DescribeResponse, object: &str, fields: &[SeenField]) -> Table {
    let described = describe.objects.iter().find(|one| one.key == object);
    let columns = fields.iter().filter(|one| one.field.object == object);
    Table {
        object: object.to_owned(),
        label: described.map_or(object, |one| &one.label).to_owned(),
        role: described.map_or(ObjectRole::Other, tether_connector_proto::Object::role),
        columns: columns
            .map(|SeenField { field, active }| Column {
                key: field.key.clone(),
                label: field.label.clone(),
                field_type: field.field_type,
                active: *active,
                missing: field.missing_us.is_some(),
                picklist: if field.field_type.is_picklist() {
                    LazyPicklist::new(field.describe.clone())
                } else {
                    LazyPicklist::default()
                },
            })
            .collect(),
        total: 0,
        keys: Vec::new(),
        names: false,
    }
}

/// A record as a table of these columns shows it.
fn shown(columns: &[Column], names: bool, row: RecordContent, text_from: usize) -> RelatedRecord {
    let payload: Map<String, Json> = serde_json::from_str(&row.payload).unwrap_or_default();
    let values: Vec<Option<Value>> = columns
        .iter()
        .map(|column| value::read(&payload, &column.key, column.field_type).filter(|_| !column.missing))
        .collect();
    // A name that none of the shown fields holds is not shared.
    let is_name = |value: &Option<Value>| matches!(value, Some(Value::Text(text)) if *text == row.name);
    RelatedRecord {
        name: if names || values.iter().any(is_name) {
            row.name
        } else {
            String::new()
        },
        values: values
            .into_iter()
            .zip(columns)
            .map(|(value, column)| {
                let shown = value?.shown(text_from, MOST_CHARACTERS);
                Some(shown.labelled(column.picklist.get(), MOST_CHARACTERS))
            })
            .collect(),
        external_id: row.external_id,
        modified_us: row.modified_us,
    }
}
