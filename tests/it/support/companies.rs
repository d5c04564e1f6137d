//! The company of a record, without the code under test: the ids as they were published, and the forms in
//! which the simulators write websites.

use uuid::Uuid;

/// The published namespace of company ids.
const SPACE: Uuid = Uuid::from_u128(0x6b1d_5c3e_9a40_5f0e_8d2b_7e74_6865_7221);

fn name(of: &str) -> String {
    format!("companies/{}", Uuid::new_v5(&SPACE, of.as_bytes()))
}

/// The company of a domain.
pub(crate) fn of_domain(domain: &str) -> String {
    name(&format!("domain\n{domain}"))
}

/// The company that is identified by this record only.
pub(crate) fn of_record(connector: &str, organization: &str, id: &str) -> String {
    name(&format!("record\n{connector}\n{organization}\n{id}"))
}

/// The domain in a website of the simulators; `None` for their texts without a domain.
pub(crate) fn domain(website: &str) -> Option<String> {
    const NONE: &[&str] = &[
        "n/a",
        "linkedin.com",
        "facebook.com",
        "sites.google.com",
        "javascript:",
    ];
    let text = website.to_lowercase();
    if text.is_empty() || NONE.iter().any(|none| text.contains(none)) {
        return None;
    }
    let host = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"))
        .unwrap_or(&text);
    let host = host.split(['/', ':', '?']).next().unwrap_or_default();
    let domain = host
        .strip_prefix("www.")
        .or(host.strip_prefix("shop."))
        .unwrap_or(host);
    assert!(
        domain.contains('.') && !domain.contains(' '),
        "a form that is not known here: {website}"
    );
    Some(domain.to_owned())
}

/// The company of a record of a simulator.
pub(crate) fn of(connector: &str, organization: &str, id: &str, website: &str) -> String {
    domain(website).map_or_else(
        || of_record(connector, organization, id),
        |domain| of_domain(&domain),
    )
}

#[test]
fn the_ids_are_those_that_were_published() {
    assert_eq!(
        of_domain("acme.com"),
        "companies/06ee95e7-1595-5c15-be50-c41436f8c189"
    );
    assert_eq!(
        of_record("dummy", "00D", "001"),
        "companies/9f352670-2934-5287-8c67-f7453a3e90b9"
    );
}
