//! The currency of amounts. In an organization with several currencies each record has `CurrencyIsoCode`, which the
//! describe shows; in others all amounts are in the organization's currency.

use serde::Deserialize;
use tether_connector_sdk::proto::{AmountCurrency, Error, ErrorKind, FieldType, ObjectFields};

use crate::rest::Session;

/// The field of a record that has the currency of its amounts.
const FIELD: &str = "CurrencyIsoCode";

/// `GET connect/organization`, as far as it is used. The currency is only set if there is one for all amounts.
#[derive(Deserialize)]
struct Organization {
    features: Features,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    #[serde(default)]
    default_currency_iso_code: Option<String>,
}

/// Adds to the amounts where their currency is. The organization is asked only if there are amounts whose records do not
/// have a currency.
pub(crate) async fn add(session: &Session, objects: &mut [ObjectFields]) -> Result<(), Error> {
    let has_own = |object: &ObjectFields| object.fields.iter().any(|field| field.key == FIELD);
    let has_amounts = |object: &ObjectFields| {
        object
            .fields
            .iter()
            .any(|field| field.r#type() == FieldType::Currency)
    };
    let several = objects.iter().any(has_own);
    let code = match several || !objects.iter().any(has_amounts) {
        true => String::new(),
        false => of_organization(session).await?,
    };
    for object in objects {
        let currency = AmountCurrency {
            field: if has_own(object) {
                FIELD.to_owned()
            } else {
                String::new()
            },
            code: code.clone(),
        };
        if currency == AmountCurrency::default() {
            continue;
        }
        let amounts = object.fields.iter_mut();
        for field in amounts.filter(|field| field.r#type() == FieldType::Currency) {
            field.currency = Some(currency.clone());
        }
    }
    Ok(())
}

/// The currency of all amounts; empty if Salesforce does not tell this user. Any other failure is one of the whole list:
/// otherwise each amount would lose its currency with the next sync.
async fn of_organization(session: &Session) -> Result<String, Error> {
    let path = session.api().path("connect/organization");
    let asked = session
        .get(&path, |text| serde_json::from_str::<Organization>(text))
        .await;
    match asked {
        Ok((organization, _)) => Ok(organization
            .features
            .default_currency_iso_code
            .unwrap_or_default()),
        Err(error) => match error.what() {
            ErrorKind::Forbidden | ErrorKind::RecordGone | ErrorKind::ObjectGone | ErrorKind::AdminAction => {
                tracing::info!("the currency of the organization is not known: {}", error.message);
                Ok(String::new())
            }
            _ => Err(error),
        },
    }
}
