//! Connectors.

use crate::proto::v1;
use crate::service::ConnectorView;
use tether_connector_proto::Setting;

/// A connector as a group sees it.
pub fn connector(view: ConnectorView) -> v1::Connector {
    let describe = view.describe.unwrap_or_default();
    let state = if view.failure.is_none() {
        v1::connector::State::Available
    } else {
        v1::connector::State::Failed
    };
    v1::Connector {
        name: format!("connectors/{}", view.id),
        display_name: if describe.display_name.is_empty() {
            view.id
        } else {
            describe.display_name
        },
        version: describe.version,
        state: state as i32,
        state_reason: view
            .failure
            .and_then(|failure| super::cause(failure.reason.as_str(), &failure.message, None, None)),
        objects: describe
            .objects
            .into_iter()
            // The two enums have the same numbers.
            .map(|one| v1::ConnectorObject {
                object: one.key,
                label: one.label,
                role: one.role,
            })
            .collect(),
        auth_methods: describe
            .auth_methods
            .into_iter()
            .map(|one| v1::AuthMethod {
                kind: one.kind,
                parameters: one.parameters.into_iter().map(setting).collect(),
            })
            .collect(),
        settings: describe.settings.into_iter().map(setting).collect(),
        enabled: view.enabled,
        enable_time: view.enable_us.map(super::timestamp),
    }
}

fn setting(one: Setting) -> v1::Setting {
    v1::Setting {
        key: one.key,
        label: one.label,
        description: one.description,
        choices: one
            .choices
            .into_iter()
            .map(|choice| v1::SettingChoice {
                value: choice.value,
                label: choice.label,
            })
            .collect(),
        required: one.required,
        secret: one.secret,
        default_value: one.default_value,
    }
}
