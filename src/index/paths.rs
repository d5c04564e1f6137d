//! The paths under which values stand in an index.

/// The path of a field, or of a part of it, in the index. Object names are never empty, so an empty object name
/// stands for the company itself.
#[must_use]
pub fn path(object: &str, key: &str, part: &str) -> String {
    fn escape(to: &mut String, text: &str) {
        use std::fmt::Write as _;
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'_' {
                to.push(byte as char);
            } else {
                let _ = write!(to, "%{byte:02x}");
            }
        }
    }
    let mut path = String::with_capacity(object.len() + key.len() + part.len() + 2);
    for (at, segment) in [object, key, part].into_iter().enumerate() {
        if at > 0 {
            path.push('/');
        }
        escape(&mut path, segment);
    }
    path
}

/// The path of the name that a source gives a company.
pub fn name() -> String {
    path("", "name", "")
}
/// The path of the key by which that name is sorted.
pub fn sorted_name() -> String {
    path("", "name_key", "")
}
/// The path of the domain of the homepage.
pub fn domain() -> String {
    path("", "domain", "")
}
/// The path of the displayed homepage.
pub fn homepage() -> String {
    path("", "homepage", "")
}
/// The path of the words of name and domain, without accents. The text at this path has the words of the name only.
pub fn found_by() -> String {
    path("", "found_by", "")
}
/// The path of the id of the record.
pub fn external_id() -> String {
    path("", "id", "")
}

/// The paths of the values that a company itself has, made once for many rows.
pub(super) struct CompanyPaths {
    pub(super) name: String,
    pub(super) homepage: String,
    pub(super) domain: String,
    pub(super) found_by: String,
}

impl CompanyPaths {
    pub(super) fn new() -> Self {
        Self {
            name: name(),
            homepage: homepage(),
            domain: domain(),
            found_by: found_by(),
        }
    }
}
