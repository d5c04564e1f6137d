//! `connect/organization`: the organization as the Connect REST API describes it.

use serde_json::{Value as Json, json};

use super::Call;

/// An organization has several currencies if accounts have the field for it; otherwise the default currency is that of
/// all amounts, and only then is it given.
pub(crate) fn organization(call: &Call<'_>) -> Json {
    let org = call.org();
    let accounts = org.schema.find("Account");
    let several = accounts.is_some_and(|(_, account)| account.field("CurrencyIsoCode").is_some());
    json!({
        "accessTimeout": 120,
        "features": {
            "activityReminderNotificationsEnabled": true,
            "chatter": true,
            "defaultCurrencyIsoCode": if several { Json::Null } else { "USD".into() },
            "files": true,
            "multiCurrency": several,
            "publisherActions": true,
            "thanksAllowed": true,
            "trendingTopics": false,
            "viralInvitesAllowed": false,
        },
        "maintenanceInfo": [],
        "name": org.name,
        "userSettings": {
            "canFollow": true,
            "currencySymbol": "$",
            "hasChatter": true,
            "timeZone": { "gmtOffset": 0.0, "name": "GMT" },
        },
    })
}
