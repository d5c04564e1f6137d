//! Calls that many tests make, with the usual arguments.

use tether::proto::v1;
use tether::proto::v1::company_to_track::Company;
use tether::proto::v1::get_company_profile_request::Refresh;

use super::answers::{Refused, ok, refused, until};
use super::person::Person;

impl Person {
    /// Disables a connector for the group.
    pub(crate) async fn disable(&mut self, connector: &str) -> v1::Connector {
        let request = v1::DisableConnectorRequest {
            parent: self.parent.clone(),
            connector: format!("connectors/{connector}"),
        };
        ok(self.integrations.disable_connector(request)).await
    }

    /// Reviews an integration as it is.
    pub(crate) async fn review(&mut self, name: &str) -> v1::ReviewIntegrationResponse {
        let request = v1::ReviewIntegrationRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        ok(self.integrations.review_integration(request)).await
    }

    /// What ListSyncs is asked.
    pub(crate) fn history(name: &str) -> v1::ListSyncsRequest {
        v1::ListSyncsRequest {
            parent: name.to_owned(),
            ..Default::default()
        }
    }

    /// The newest syncs of an integration.
    pub(crate) async fn syncs(&mut self, name: &str) -> Vec<v1::Sync> {
        ok(self.integrations.list_syncs(Self::history(name))).await.syncs
    }

    /// Refused to read an integration.
    pub(crate) async fn cannot_get(&mut self, name: &str) -> Refused {
        let name = name.to_owned();
        refused(
            self.integrations
                .get_integration(v1::GetIntegrationRequest { name }),
        )
        .await
    }

    /// Puts a company on the group's own list.
    pub(crate) async fn track(&mut self, company: Company) -> v1::Company {
        let request = v1::TrackCompaniesRequest {
            parent: self.parent.clone(),
            companies: vec![v1::CompanyToTrack {
                company: Some(company),
            }],
        };
        ok(self.companies.track_companies(request))
            .await
            .companies
            .remove(0)
    }

    /// A profile from the store, without a live read.
    pub(crate) async fn stored(&mut self, company: &str) -> v1::CompanyProfile {
        let request = v1::GetCompanyProfileRequest {
            name: company.to_owned(),
            parent: self.parent.clone(),
            refresh: Refresh::Never as i32,
            ..Default::default()
        };
        ok(self.companies.get_company_profile(request)).await
    }

    /// Waits until lists of companies are complete up to this position.
    pub(crate) async fn wait_for(&mut self, integration: &str, change_number: i64) {
        let request = v1::ListCompaniesRequest {
            parent: self.parent.clone(),
            at_least: vec![v1::SourcePosition {
                integration: integration.to_owned(),
                change_number,
                time: None,
            }],
            ..Default::default()
        };
        ok(self.companies.list_companies(request)).await;
    }

    /// As [`wait_for`](Self::wait_for), with more patience than a call has.
    pub(crate) async fn wait_long_for(&mut self, integration: &str, change_number: i64) {
        until("the index has come so far", async || {
            let request = v1::ListCompaniesRequest {
                parent: self.parent.clone(),
                page_size: 1,
                at_least: vec![v1::SourcePosition {
                    integration: integration.to_owned(),
                    change_number,
                    time: None,
                }],
                ..Default::default()
            };
            let mut companies = self.companies.clone();
            companies.list_companies(request).await.is_ok()
        })
        .await;
    }

    /// What a login without a browser sends.
    pub(crate) fn with(
        name: &str,
        kind: v1::AuthKind,
        parameters: &[(&str, &str)],
    ) -> v1::AuthorizeWithCredentialsRequest {
        v1::AuthorizeWithCredentialsRequest {
            name: name.to_owned(),
            auth_kind: kind as i32,
            parameters: parameters
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// A draft in an organization of Salesforce with its own domain.
    pub(crate) async fn create_in_domain(&mut self, display_name: &str) -> String {
        let mut draft = self.draft("salesforce", display_name);
        draft.integration.as_mut().unwrap().settings = [
            ("environment".to_owned(), "domain".to_owned()),
            ("domain".to_owned(), "acme.my.salesforce.com".to_owned()),
        ]
        .into();
        ok(self.integrations.create_integration(draft)).await.name
    }
}
