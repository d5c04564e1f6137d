//! API usage from the reply header.

use tether_connector_sdk::http::{HeaderMap, Response};

/// Calls that the whole organization used and may use in 24 hours, if the reply has them.
pub(crate) fn of(response: &Response) -> Option<(u64, u64)> {
    of_headers(&response.headers)
}

/// The same of headers whose reply is still to come.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<(u64, u64)> {
    api_usage(headers.get("sforce-limit-info")?.to_str().ok()?)
}

/// Calls that the whole organization used and may use in 24 hours, from `Sforce-Limit-Info`. New entries are added to
/// the header (`per-app-api-usage=17/250(appName=x)`), so the entry is searched by name.
fn api_usage(header: &str) -> Option<(u64, u64)> {
    let value = header
        .split([';', ','])
        .find_map(|entry| entry.trim().strip_prefix("api-usage="))?;
    let (used, limit) = value.split_once('/')?;
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    Some((used.trim().parse().ok()?, limit[..digits(limit)].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_in_all_its_forms() {
        assert_eq!(api_usage("api-usage=18/5000"), Some((18, 5000)));
        assert_eq!(
            api_usage("api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)"),
            Some((25, 5000))
        );
        assert_eq!(
            api_usage("per-app-api-usage=17/250(appName=x);api-usage=3/100"),
            Some((3, 100))
        );
        assert_eq!(api_usage("per-app-api-usage=17/250(appName=x)"), None);
        assert_eq!(api_usage("api-usage=many/5000"), None);
        assert_eq!(api_usage(""), None);
    }
}
