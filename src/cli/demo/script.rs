//! `demo.toml` next to the manifest of a connector: what to start, select and change.

use crate::server::Failure;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The demo.toml of a connector.
#[derive(Deserialize)]
pub(super) struct Script {
    /// The program that simulates the CRM; it is next to the tether binary.
    pub(super) simulator: String,
    /// Used only if the connector is selected by name.
    #[serde(default)]
    pub(super) only_when_asked_for: bool,
    /// The settings of the operator; `{simulator}` is replaced by its address.
    pub(super) settings: BTreeMap<String, String>,
    /// The currency of the simulated organization, three letters: the CRM does not return one with each amount.
    pub(super) currency: String,
    pub(super) select: Selection,
    pub(super) change: Change,
}

#[derive(Deserialize)]
pub(super) struct Selection {
    pub(super) fields: Vec<String>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Change {
    pub(super) object: String,
    pub(super) field: String,
    pub(super) value: String,
}

/// Finds the connector in the folder. Without a name, the first one that has a demo.toml and may be selected by
/// default.
pub(super) fn find(folder: &Path, wanted: Option<&str>) -> Result<(String, Script), Failure> {
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
