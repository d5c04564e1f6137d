//! Reads an edit from a request: names, settings, fields, schedule, shares.

use super::{budget, schedule, validate};
use crate::domain::GroupId;
use crate::error::Error;
use crate::proto::v1;
use crate::service::{self, Edit};
use crate::service::{FieldRef, NewShare};

/// The revision of an etag; `None` for an empty one.
pub fn revision(field: &str, etag: &str) -> Result<Option<i64>, Error> {
    validate::text(field, etag, validate::ETAG_LENGTH)?;
    if etag.is_empty() {
        return Ok(None);
    }
    let revision = etag.strip_prefix('r').and_then(|number| number.parse().ok());
    // Any other text is an etag that was never returned: it matches no revision.
    Ok(Some(revision.unwrap_or(-1)))
}

pub fn field_keys(path: &str, keys: &[String]) -> Result<Vec<(String, String)>, Error> {
    validate::list(path, keys, service::MOST_FIELDS)?;
    let mut seen = std::collections::HashSet::new();
    keys.iter()
        .enumerate()
        .filter(|(_, key)| seen.insert(key.as_str()))
        .map(|(at, key)| validate::field_key(&format!("{path}[{at}]"), key))
        .collect()
}

/// The edit that a request describes: the fields of its update mask or, without one, all fields that are set.
/// `root` is the path of the integration in the request.
pub fn edit(
    root: &str,
    wanted: &v1::Integration,
    mask: Option<&prost_types::FieldMask>,
) -> Result<Edit, Error> {
    const KNOWN: &[&str] = &[
        "display_name",
        "label",
        "settings",
        "selected_fields",
        "schedule",
        "api_budget",
        "shares",
        "connected",
        "*",
    ];
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    validate::update_mask(paths, KNOWN)?;
    let all = paths.iter().any(|path| path == "*");
    let has = |path: &str, filled: bool| {
        all || if paths.is_empty() {
            filled
        } else {
            paths.iter().any(|p| p == path)
        }
    };
    let mut edit = Edit {
        revision: revision(&format!("{root}.etag"), &wanted.etag)?,
        ..Edit::default()
    };
    if has("display_name", !wanted.display_name.is_empty()) {
        edit.display_name = Some(validate::display_name(
            &format!("{root}.display_name"),
            &wanted.display_name,
        )?);
    }
    if has("label", !wanted.label.is_empty()) && !(all && wanted.label.is_empty()) {
        edit.label = Some(validate::label(&format!("{root}.label"), &wanted.label)?);
    }
    if has("settings", !wanted.settings.is_empty()) && !(all && wanted.settings.is_empty()) {
        validate::map(&format!("{root}.settings"), &wanted.settings, 20, 2_048)?;
        edit.settings = Some(wanted.settings.clone().into_iter().collect());
    }
    if has("selected_fields", !wanted.selected_fields.is_empty()) {
        edit.fields = Some(field_keys(
            &format!("{root}.selected_fields"),
            &wanted.selected_fields,
        )?);
    }
    if has("schedule", wanted.schedule.is_some()) {
        let path = format!("{root}.schedule");
        edit.schedule = Some(schedule::read(&path, wanted.schedule.as_ref())?);
    }
    if has("api_budget", wanted.api_budget.is_some()) {
        let path = format!("{root}.api_budget");
        edit.budget = Some(budget::read(&path, wanted.api_budget.as_ref())?);
    }
    if has("shares", !wanted.shares.is_empty()) {
        edit.shares = Some(shares(root, wanted)?);
    }
    if has("connected", wanted.connected.is_some()) {
        edit.connected = Some(wanted.connected.unwrap_or(true));
    }
    Ok(edit)
}

/// The shares of an edit; two with the same receiver are an error.
pub fn shares(root: &str, wanted: &v1::Integration) -> Result<Vec<NewShare>, Error> {
    validate::list(&format!("{root}.shares"), &wanted.shares, service::MOST_SHARES)?;
    let mut shares: Vec<NewShare> = Vec::new();
    for (position, share) in wanted.shares.iter().enumerate() {
        let path = format!("{root}.shares[{position}]");
        let group = if share.name.is_empty() {
            validate::group(&format!("{path}.group"), &share.group)?
        } else {
            validate::share(&format!("{path}.name"), &share.name)?.1
        };
        if shares.iter().any(|one| one.group_id == group) {
            return Err(Error::invalid(path, format!("{} is there twice", group.name())));
        }
        shares.push(new_share(&path, group, share)?);
    }
    Ok(shares)
}

/// A share of all active fields, or of the fields that it lists.
pub fn new_share(path: &str, group_id: GroupId, share: &v1::Share) -> Result<NewShare, Error> {
    let fields = match (share.all_active_fields, share.fields.is_empty()) {
        (true, true) => None,
        (false, false) => {
            let keys = field_keys(&format!("{path}.fields"), &share.fields)?;
            let refs = keys.into_iter().map(|(object, key)| FieldRef { object, key });
            Some(refs.collect())
        }
        _ => {
            return Err(Error::invalid(
                format!("{path}.fields"),
                "give either fields or all_active_fields",
            ));
        }
    };
    Ok(NewShare { group_id, fields })
}
