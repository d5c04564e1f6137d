//! The simulated CRMs.

/// The secret of the app that each simulator knows.
pub(crate) const CLIENT_SECRET: &str = "tether-demo-secret";

/// A simulated CRM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crm {
    Salesforce,
    HubSpot,
}

impl Crm {
    /// Its program, beside the server's own.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Salesforce => "salesforce-sim",
            Self::HubSpot => "hubspot-sim",
        }
    }

    /// The server's settings for it; `at` is where it listens.
    pub(super) fn flags(self, at: &str) -> Vec<String> {
        let (connector, client_id, address) = match self {
            Self::Salesforce => ("salesforce", "3MVG9tether.demo", "login_host_override"),
            Self::HubSpot => ("hubspot", "tether-demo-app", "address_override"),
        };
        let mut flags = vec![
            format!("connector.{connector}.settings.client_id={client_id}"),
            format!("connector.{connector}.settings.client_secret={CLIENT_SECRET}"),
            format!("connector.{connector}.settings.{address}=http://{at}"),
            format!("connector.{connector}.plain_http_hosts={at}"),
        ];
        if self == Self::HubSpot {
            // Waiting for turns is tested with the connector.
            flags.push("connector.hubspot.settings.searches_per_second=1000".to_owned());
        }
        flags
    }
}
