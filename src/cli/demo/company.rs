//! The steps of the demo from the first sync on: it is watched, companies are listed, and a profile is opened before and
//! after a change in the CRM.

use super::card::{card, text};
use super::client::GROUP;
use super::script::Change;
use super::walk::Walk;
use crate::cli::print::say;
use crate::proto::v1::{self, get_company_profile_request::Refresh};
use crate::server::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};
use tonic_types::StatusExt as _;

/// Maximum wait for the search index after a sync.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

impl Walk {
    /// Watches a sync until it ends; returns the change number of the integration after it.
    pub(super) async fn watch(&mut self, sync: v1::Sync) -> Result<i64, Failure> {
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

    pub(super) async fn profile(&mut self, integration: &str, change_number: i64) -> Result<(), Failure> {
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
