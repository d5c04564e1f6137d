//! What calls find out about the CRM of an organization: whether it answers, and whether it has calls left. All replicas share
//! it. While the CRM is down, or refuses calls, profiles are shown from the store, and one call at a time looks whether it
//! answers again: see `store::organization`.

use super::{Credentials, Error, is_unavailable, retry_after};
use crate::connectors;
use crate::domain::{AllowanceRules, ApiBudget, ApiUse, CallKind, CredentialId, IntegrationId, Micros};
use crate::store::{
    Admission, Breaker, CallCost, CallEnd, CallOutcome, Caller, Organization, OrganizationKey, Store,
};
use crate::time::now_us;
use tether_connector_proto::{self as proto, ErrorKind};

/// An answer of a connector to a call about an integration's data.
pub trait Answer {
    /// What the call cost.
    fn api_usage(&self) -> Option<&proto::ApiUsage>;
    /// An error within the answer that says something about the CRM as a whole.
    fn failure(&self) -> Option<&proto::Error> {
        None
    }
}

impl Answer for proto::ListFieldsResponse {
    fn api_usage(&self) -> Option<&proto::ApiUsage> {
        self.api_usage.as_ref()
    }
}

impl Answer for proto::CountRecordsResponse {
    fn api_usage(&self) -> Option<&proto::ApiUsage> {
        self.api_usage.as_ref()
    }
}

impl Answer for proto::FetchCompanyResponse {
    fn api_usage(&self) -> Option<&proto::ApiUsage> {
        self.api_usage.as_ref()
    }

    fn failure(&self) -> Option<&proto::Error> {
        let errors = self.objects.iter().filter_map(|one| one.error.as_ref());
        errors
            .into_iter()
            .find(|error| outcome(error.what()).is_some_and(|found| found != CallOutcome::Answered))
    }
}

/// What a call with a credential is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// The credential.
    pub credential_id: CredentialId,
    /// The integration whose calls they are.
    pub integration_id: IntegrationId,
    /// How many it may make a day.
    pub budget: ApiBudget,
    /// What they are made for.
    pub kind: CallKind,
}

impl Purpose {
    fn is_live(&self) -> bool {
        self.kind != CallKind::Sync
    }
}

/// The call that finds out whether an organization's CRM answers again. Others wait until [`end`](Self::end), or until it is dropped.
pub(super) struct Probe {
    store: Store,
    key: OrganizationKey,
    /// None: it has ended.
    caller: Option<Caller>,
}

impl Probe {
    /// The call has ended, and its outcome is recorded.
    pub(super) async fn end(mut self) {
        if let Some(caller) = self.caller.take() {
            end_probe(&self.store, &self.key, &caller).await;
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Its task was cancelled.
        if let Some(caller) = self.caller.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, key) = (self.store.clone(), self.key.clone());
            runtime.spawn(async move { end_probe(&store, &key, &caller).await });
        }
    }
}

/// If it cannot be stored, others wait until the probe is taken for dead.
async fn end_probe(store: &Store, key: &OrganizationKey, caller: &Caller) {
    if let Err(error) = store.organization_probe_end(key, caller).await {
        tracing::warn!(
            connector = key.connector,
            "cannot store that a call has ended: {error}"
        );
    }
}

/// What an error of this kind says about the CRM: it is down, it refuses the call, or it answers.
fn outcome(kind: ErrorKind) -> Option<CallOutcome> {
    match kind {
        ErrorKind::Forbidden
        | ErrorKind::FieldGone
        | ErrorKind::ObjectGone
        | ErrorKind::RecordGone
        | ErrorKind::QueryTooBig => Some(CallOutcome::Answered),
        ErrorKind::Transient | ErrorKind::DeadlineExceeded => Some(CallOutcome::Failed),
        ErrorKind::AllowanceExhausted => Some(CallOutcome::Refused(None)),
        _ => None,
    }
}

/// What the CRM said of its organization's calls: how many were made, and their limit.
#[must_use]
pub fn said(usage: &proto::ApiUsage) -> Option<(i64, i64)> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    (usage.limit > 0).then(|| (number(usage.used), number(usage.limit)))
}

/// What an error of a call says about the CRM; `None` if nothing, for example if it is the connector's own.
#[must_use]
pub fn outcome_of(error: &connectors::Error) -> Option<CallOutcome> {
    if is_unavailable(error) {
        return None;
    }
    match outcome(error.kind())? {
        CallOutcome::Refused(_) => {
            let named = retry_after(error).map(|wait| now_us().saturating_add(wait.as_micros() as i64));
            Some(CallOutcome::Refused(named))
        }
        other => Some(other),
    }
}

/// Whether a call that may be made is the probe.
fn admitted(key: &OrganizationKey, admission: Admission) -> Result<bool, Error> {
    let (kind, retry_us, message) = match admission {
        Admission::Open => return Ok(false),
        Admission::Probe => return Ok(true),
        Admission::Closed(until) => {
            let text = "the CRM failed the last calls; tether tries again after a pause";
            (ErrorKind::Transient, until, text)
        }
        Admission::Refused(until) => {
            let text = "the CRM refuses calls because the organization's allowance is used up";
            (ErrorKind::AllowanceExhausted, until, text)
        }
    };
    let error = proto::Error {
        retry_us,
        ..proto::Error::new(kind, message)
    };
    Err(connectors::Error::from_connector(&key.connector, error).into())
}

impl Credentials {
    /// The operator's rules for the allowance.
    #[must_use]
    pub fn allowance(&self) -> AllowanceRules {
        self.allowance
    }

    /// Whether a call may be made; true if it has to find out first whether the CRM answers again ([`probe`](Self::probe)). A sync
    /// was admitted when a worker took it, so only its budget counts.
    ///
    /// # Errors
    /// The CRM of its organization is down or refuses calls, with the time of the next attempt; [`Error::OverBudget`];
    /// the database.
    pub(super) async fn admits(&self, of: &Purpose, key: &OrganizationKey) -> Result<bool, Error> {
        let now = now_us();
        let used = self.store.api_usage_get(of.integration_id, key, now).await?;
        if let Some(over) = self.allowance.over(of.budget, &used, of.kind, now) {
            return Err(Error::OverBudget(of.integration_id, over));
        }
        if !of.is_live() {
            return Ok(false);
        }
        admitted(key, self.store.organization_admits(key, self.breaker, now).await?)
    }

    /// Makes the next call the one that finds out whether the CRM answers again, if there is no other one.
    ///
    /// # Errors
    /// Another call finds out, with the time of the next attempt; the database.
    pub(super) async fn probe(&self, key: &OrganizationKey) -> Result<Option<Probe>, Error> {
        let caller = Caller::Live(uuid::Uuid::new_v4().to_string());
        let (store, breaker): (_, Breaker) = (self.store.clone(), self.breaker);
        let admission = store
            .organization_probe(key, breaker, now_us(), caller.clone())
            .await?;
        let key = key.clone();
        Ok(admitted(&key, admission)?.then(|| Probe {
            store,
            key,
            caller: Some(caller),
        }))
    }

    /// Counts calls; returns what was used with them.
    ///
    /// # Errors
    /// The database.
    pub async fn spend(&self, cost: CallCost) -> Result<ApiUse, Error> {
        let (connector, kind) = (
            cost.organization.connector.clone(),
            if cost.live { "live" } else { "sync" },
        );
        metrics::counter!("tether_crm_calls_total", "connector" => connector, "kind" => kind)
            .increment(u64::try_from(cost.calls).unwrap_or_default());
        Ok(self.store.api_usage_add(cost, self.allowance).await?)
    }

    /// Counts the calls behind an answer or an error. That they could not be counted does not make the answer wrong.
    pub(super) async fn count<T: Answer>(
        &self,
        of: &Purpose,
        key: &OrganizationKey,
        ended: &Result<T, connectors::Error>,
    ) {
        let usage = match ended {
            Ok(answer) => answer.api_usage(),
            Err(error) => error.failed().and_then(|failed| failed.api_usage.as_deref()),
        };
        let Some(usage) = usage else { return };
        let (id, live) = (of.integration_id, of.is_live());
        let cost = CallCost {
            integration_id: id,
            organization: key.clone(),
            live,
            calls: i64::try_from(usage.calls).unwrap_or(i64::MAX),
            said: said(usage),
            now_us: now_us(),
        };
        if (cost.calls > 0 || cost.said.is_some())
            && let Err(error) = self.spend(cost).await
        {
            tracing::warn!(integration = %id, "cannot count API calls of {id}: {error}");
        }
    }

    /// Records how a call ended; returns the state of the organization's CRM after it.
    ///
    /// # Errors
    /// The database.
    pub async fn organization_outcome(
        &self,
        key: &OrganizationKey,
        end: CallEnd,
    ) -> Result<Organization, Error> {
        let known = self.store.organization_outcome(key, self.breaker, end).await?;
        let outcome = end.outcome;
        if outcome == CallOutcome::Failed && known.failures == self.breaker.failures {
            metrics::counter!("tether_crm_pauses_total", "connector" => key.connector.clone(), "reason" => "failures")
                .increment(1);
            tracing::warn!(
                connector = key.connector,
                "the CRM of an organization failed {} calls in a row: no sync starts for a time",
                known.failures
            );
        }
        if matches!(outcome, CallOutcome::Refused(_)) {
            metrics::counter!("tether_crm_pauses_total", "connector" => key.connector.clone(), "reason" => "allowance")
                .increment(1);
        }
        Ok(known)
    }

    /// Records the outcome of a call with an answer. Successes are written only if calls failed before.
    pub(super) async fn concluded<T: Answer>(
        &self,
        of: &Purpose,
        key: &OrganizationKey,
        begin_us: Micros,
        ended: &Result<T, connectors::Error>,
    ) -> Result<(), Error> {
        let outcome = match ended {
            Ok(answer) => match answer.failure() {
                Some(error) => outcome(error.what()),
                None => Some(CallOutcome::Answered),
            },
            Err(error) => outcome_of(error),
        };
        let Some(outcome) = outcome else { return Ok(()) };
        if outcome == CallOutcome::Answered && !self.store.organization_get(key).await?.is_troubled() {
            return Ok(());
        }
        let end = CallEnd {
            outcome,
            live: of.is_live(),
            begin_us,
            end_us: now_us(),
        };
        self.organization_outcome(key, end).await?;
        Ok(())
    }
}
