//! The currency of amounts. HubSpot describes for each amount which property of the record has its currency; amounts
//! without such a property, or of records that do not have it, are in the currency of the account.

use serde::Deserialize;
use tether_connector_sdk::proto::{AmountCurrency, Error, ErrorKind, Field, FieldType, ObjectFields};

use crate::rest::Session;

/// The property that has the currency of a deal, for accounts whose amounts are described without it.
const OF_DEALS: &str = "deal_currency_code";
/// The end of the names of amounts that HubSpot converts to the currency of the account.
const CONVERTED: &str = "_in_home_currency";

/// `GET /account-info/v3/details`, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(default)]
    company_currency: Option<String>,
}

/// Adds to the amounts where their currency is.
pub(crate) async fn add(session: &Session, objects: &mut [ObjectFields]) -> Result<(), Error> {
    let is_amount = |field: &Field| field.r#type() == FieldType::Currency;
    if !objects.iter().any(|object| object.fields.iter().any(is_amount)) {
        return Ok(());
    }
    let code = of_account(session).await?;
    for object in objects {
        let has_own = object.fields.iter().any(|field| field.key == OF_DEALS);
        for field in object.fields.iter_mut().filter(|field| is_amount(field)) {
            let described = field.currency.take().map(|currency| currency.field);
            let by_name = || {
                let own = has_own && !field.key.ends_with(CONVERTED);
                own.then(|| OF_DEALS.to_owned())
            };
            let currency = AmountCurrency {
                field: described.or_else(by_name).unwrap_or_default(),
                code: code.clone(),
            };
            field.currency = Some(currency).filter(|currency| *currency != AmountCurrency::default());
        }
    }
    Ok(())
}

/// The currency of the account; empty if HubSpot does not tell this login. Any other failure is one of the whole list:
/// otherwise each amount would lose its currency with the next sync.
async fn of_account(session: &Session) -> Result<String, Error> {
    let read = |text: &str| serde_json::from_str::<Details>(text);
    match session.get("/account-info/v3/details", read).await {
        Ok((details, _)) => Ok(details.company_currency.unwrap_or_default()),
        Err(error) => match error.what() {
            ErrorKind::Forbidden | ErrorKind::RecordGone | ErrorKind::ObjectGone | ErrorKind::AdminAction => {
                tracing::info!("the currency of the account is not known: {}", error.message);
                Ok(String::new())
            }
            _ => Err(error),
        },
    }
}
