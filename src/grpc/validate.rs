//! Checks of requests before a service is called: the form of names, the bounds of texts and lists (AIP-122,
//! 210).

use crate::domain::{CompanyId, GroupId, IntegrationId, NO_ZONE, SyncId, Zone};
use crate::error::{Detail, Error, Reason, Result, echo};
use std::str::FromStr;

/// The maximum length of a name for users, in characters.
pub const NAME_LENGTH: usize = 100;
/// The maximum length of an etag, in characters.
pub const ETAG_LENGTH: usize = 64;
/// The maximum length of a group's name, in characters.
pub const GROUP_NAME_LENGTH: usize = 200;
/// The maximum length of a company's name, in characters.
pub const COMPANY_NAME_LENGTH: usize = 500;
/// The maximum length of a URL, in characters.
pub const URL_LENGTH: usize = 2_048;
/// The maximum length of a search text, in characters.
pub const QUERY_LENGTH: usize = 200;
/// The maximum length of the name of a time zone, in characters.
pub const ZONE_LENGTH: usize = 64;
/// The maximum length of the platform's id of a company, in characters.
const PLATFORM_ID_LENGTH: usize = 128;

fn resource<T: FromStr>(field: &str, name: &str, collection: &str) -> Result<T> {
    name.strip_prefix(collection)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| Error::invalid(field, format!("is not of the form {collection}/{{id}}")))
}

/// `groups/{group}`.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn group(field: &str, name: &str) -> Result<GroupId> {
    resource(field, name, GroupId::COLLECTION)
}

/// `integrations/{integration}`.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn integration(field: &str, name: &str) -> Result<IntegrationId> {
    resource(field, name, IntegrationId::COLLECTION)
}

/// `companies/{company}`.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn company(field: &str, name: &str) -> Result<CompanyId> {
    resource(field, name, CompanyId::COLLECTION)
}

/// The IANA name of a time zone; UTC if it is empty.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn time_zone(field: &str, name: &str) -> Result<Zone> {
    text(field, name, ZONE_LENGTH)?;
    Zone::parse(name).ok_or_else(|| Error::invalid(field, NO_ZONE))
}

/// `integrations/{integration}/syncs/{sync}`.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn sync(field: &str, name: &str) -> Result<(IntegrationId, SyncId)> {
    name.split_once("/syncs/")
        .and_then(|(integration, sync)| {
            Some((
                integration.strip_prefix("integrations/")?.parse().ok()?,
                sync.parse().ok()?,
            ))
        })
        .ok_or_else(|| {
            Error::invalid(
                field,
                "is not of the form integrations/{integration}/syncs/{sync}",
            )
        })
}

/// `integrations/{integration}/shares/{group}`.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn share(field: &str, name: &str) -> Result<(IntegrationId, GroupId)> {
    name.split_once("/shares/")
        .and_then(|(integration, group)| {
            Some((
                integration.strip_prefix("integrations/")?.parse().ok()?,
                group.parse().ok()?,
            ))
        })
        .ok_or_else(|| {
            Error::invalid(
                field,
                "is not of the form integrations/{integration}/shares/{group}",
            )
        })
}

/// `connectors/{connector}`, where the id is 1 to 63 of `a-z`, `0-9`, `-`, `_`.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn connector(field: &str, name: &str) -> Result<String> {
    name.strip_prefix("connectors/")
        .filter(|id| (1..=63).contains(&id.len()))
        .filter(|id| {
            id.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        })
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid(field, "is not of the form connectors/{connector}"))
}

/// `Object.Field`, the form of selected fields.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn field_key(field: &str, key: &str) -> Result<(String, String)> {
    key.split_once('.')
        .filter(|(object, key)| !object.is_empty() && !key.is_empty() && object.len() + key.len() <= 255)
        .map(|(object, key)| (object.to_owned(), key.to_owned()))
        .ok_or_else(|| Error::invalid(field, format!("{:?} is not of the form Object.Field", echo(key))))
}

/// A name for users: 1 to 100 characters, no control characters, no blanks at its ends.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn display_name(field: &str, name: &str) -> Result<String> {
    name_of(field, name, NAME_LENGTH)
}

/// The name of a group: as [`display_name`], with 1 to 200 characters.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn group_name(field: &str, name: &str) -> Result<String> {
    name_of(field, name, GROUP_NAME_LENGTH)
}

/// The platform's id of a company: 1 to 128 characters.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn platform_id(field: &str, id: &str) -> Result<String> {
    name_of(field, id, PLATFORM_ID_LENGTH)
}

fn name_of(field: &str, name: &str, most: usize) -> Result<String> {
    let length = name.chars().count();
    if length == 0 || length > most {
        return Err(Error::invalid(
            field,
            format!("must have 1 to {most} characters; it has {length}"),
        ));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            "must not begin or end with blanks nor hold control characters",
        ));
    }
    Ok(name.to_owned())
}

/// A company's name: 1 to 500 characters.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn company_name(field: &str, name: &str) -> Result<String> {
    let length = name.trim().chars().count();
    if length == 0 || length > COMPANY_NAME_LENGTH || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            format!("must have 1 to {COMPANY_NAME_LENGTH} characters and no control characters"),
        ));
    }
    Ok(name.trim().to_owned())
}

/// A label: 1 to 40 of `a-z`, `0-9`, `_`, beginning with a letter.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn label(field: &str, label: &str) -> Result<String> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if label.len() > 40 || !label.starts_with(|c: char| c.is_ascii_lowercase()) || !label.bytes().all(good) {
        return Err(Error::invalid(
            field,
            "must be 1 to 40 of a-z, 0-9 and _, beginning with a letter",
        ));
    }
    Ok(label.to_owned())
}

/// A text of at most `most` characters (Unicode scalar values).
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn text(field: &str, text: &str, most: usize) -> Result<()> {
    if text.len() > most {
        let length = text.chars().count();
        if length > most {
            return Err(Error::invalid(
                field,
                format!("may have {most} characters; it has {length}"),
            ));
        }
    }
    Ok(())
}

/// A list of at most `most` entries.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn list<T>(field: &str, list: &[T], most: usize) -> Result<()> {
    if list.len() > most {
        return Err(Error::invalid(
            field,
            format!("may have {most} entries; it has {}", list.len()),
        ));
    }
    Ok(())
}

/// A list of 1 to `most` entries.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn entries<T>(field: &str, entries: &[T], most: usize) -> Result<()> {
    if entries.is_empty() {
        return Err(Error::invalid(
            field,
            format!("must have 1 to {most} entries; it has none"),
        ));
    }
    list(field, entries, most)
}

/// A map of at most `most` entries, with keys of at most 64 and values of at most `value_length` characters.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn map(
    field: &str,
    map: &std::collections::HashMap<String, String>,
    most: usize,
    value_length: usize,
) -> Result<()> {
    if map.len() > most {
        return Err(Error::invalid(
            field,
            format!("may have {most} entries; it has {}", map.len()),
        ));
    }
    for (key, value) in map {
        text(&format!("{field} (a key)"), key, 64)?;
        text(&format!("{field}[{:?}]", echo(key)), value, value_length)?;
    }
    Ok(())
}

/// A request id (AIP-155): empty, or a UUID.
///
/// # Errors
/// INVALID_FIELD_VALUE.
pub fn request_id(id: &str) -> Result<Option<String>> {
    if id.is_empty() {
        return Ok(None);
    }
    let uuid = uuid::Uuid::try_parse(id).map_err(|_| Error::invalid("request_id", "is not a UUID"))?;
    Ok(Some(uuid.hyphenated().to_string()))
}

/// The page size: 0 means `usual`, and values above `most` mean `most` (AIP-158).
///
/// # Errors
/// INVALID_FIELD_VALUE for a negative one.
pub fn page_size(size: i32, usual: usize, most: usize) -> Result<usize> {
    limit("page_size", size, usual, most)
}

/// A maximum number: `usual` if it is 0, at most `most`.
///
/// # Errors
/// INVALID_FIELD_VALUE for a negative number.
pub fn limit(field: &str, number: i32, usual: usize, most: usize) -> Result<usize> {
    match usize::try_from(number) {
        Ok(0) => Ok(usual),
        Ok(number) => Ok(number.min(most)),
        Err(_) => Err(Error::invalid(field, "must not be negative")),
    }
}

/// Checks the paths of an update mask (AIP-134, 161).
///
/// # Errors
/// INVALID_UPDATE_MASK with the first unknown path.
pub fn update_mask(paths: &[String], known: &[&str]) -> Result<()> {
    match paths.iter().find(|path| !known.contains(&path.as_str())) {
        None => Ok(()),
        Some(path) => {
            let path = echo(path);
            let description = format!("{path:?} is none of {}", known.join(", "));
            Err(
                Error::new(Reason::InvalidUpdateMask, format!("update_mask: {description}"))
                    .with("path", path)
                    .detail(Detail::Fields(vec![("update_mask".to_owned(), description)])),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_bounds() {
        assert!(group("parent", "groups/acme").is_ok());
        for bad in ["", "acme", "groups/", "groups/A", "groups/a/b", "group/a"] {
            assert!(group("parent", bad).is_err(), "{bad}");
        }
        assert!(connector("connector", "connectors/dummy").is_ok());
        assert!(connector("connector", "connectors/../x").is_err());
        assert_eq!(
            field_key("f", "Account.Name").unwrap(),
            ("Account".to_owned(), "Name".to_owned())
        );
        assert!(field_key("f", "Account").is_err() && field_key("f", ".x").is_err());
        assert!(display_name("n", &"ü".repeat(100)).is_ok());
        for bad in [String::new(), " a".to_owned(), "a\n".to_owned(), "ü".repeat(101)] {
            assert!(display_name("n", &bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            (page_size(0, 50, 200).unwrap(), page_size(900, 50, 200).unwrap()),
            (50, 200)
        );
        assert!(page_size(-1, 50, 200).is_err());
        assert!(request_id("x").is_err());
        assert_eq!(request_id("").unwrap(), None);
        let paths = ["display_name".to_owned(), "etga".to_owned()];
        assert_eq!(
            update_mask(&paths, &["display_name"]).unwrap_err().reason,
            Reason::InvalidUpdateMask
        );
    }
}
