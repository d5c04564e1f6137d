//! The steps of the demo up to the first sync: a connector is enabled, a draft logs in, selects fields, is reviewed and
//! saved. The later steps are in `company.rs`.

use super::client::{Authorized, GROUP};
use super::processes::Simulator;
use super::script::Script;
use crate::cli::print::say;
use crate::proto::v1;
use crate::proto::v1::company_service_client::CompanyServiceClient;
use crate::proto::v1::integration_service_client::IntegrationServiceClient;
use crate::server::Failure;
use std::collections::HashMap;

/// The redirect address of the browser login. Nothing listens there; the demo reads the address itself.
const REDIRECT: &str = "http://127.0.0.1:9/demo-callback";

/// Goes through the guides in order.
pub(super) struct Walk {
    pub(super) integrations: IntegrationServiceClient<Authorized>,
    pub(super) companies: CompanyServiceClient<Authorized>,
    pub(super) http: reqwest::Client,
    pub(super) connector: String,
    pub(super) script: Script,
    pub(super) at: Simulator,
    /// The number of printed steps.
    pub(super) steps: u32,
}

impl Walk {
    /// Prints the next step.
    pub(super) fn step(&mut self, what: &str) {
        self.steps += 1;
        say(&format!("{:>2}  {what}", self.steps));
    }

    /// Goes through all steps; returns the address of a login that can be tried in a browser.
    pub(super) async fn all(&mut self) -> Result<String, Failure> {
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
        self.step("saved; the first sync started; later ones start by themselves, every hour unless the owner chooses otherwise");
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
}
