//! The canonical form of names: the key by which names are compared and sorted, and the label made from a name.

/// Maximum length of a name key in bytes, so that it always fits into a database index.
const KEY_BYTES: usize = 256;

/// The key by which a name is compared and sorted: lower case, white space collapsed, without control characters, at
/// most 256 bytes.
pub fn name_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    let words = name
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty());
    for word in words {
        if !key.is_empty() {
            key.push(' ');
        }
        if word.is_ascii() {
            key.extend(word.bytes().map(|b| b.to_ascii_lowercase() as char));
        } else {
            key.push_str(&word.to_lowercase());
        }
        if key.len() > KEY_BYTES {
            break;
        }
    }
    key.truncate(key.floor_char_boundary(KEY_BYTES));
    key
}

/// The label made from a name: `a-z`, `0-9` and single `_`, beginning with a letter, at most 40 characters.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            if slug.is_empty() && c.is_ascii_digit() {
                slug.push_str("s_");
            }
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
        if slug.len() >= 40 {
            break;
        }
    }
    while slug.ends_with('_') {
        slug.pop();
    }
    if slug.is_empty() {
        "source".to_owned()
    } else {
        slug
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_have_one_key() {
        assert_eq!(name_key("  ACME\t  Corp\u{0} "), "acme corp");
        assert_eq!(name_key("ÄÖ"), "äö");
        assert!(name_key(&"ß".repeat(1000)).len() <= 256);
    }

    #[test]
    fn slugs_begin_with_a_letter() {
        assert_eq!(slug("Acme SF (EMEA)"), "acme_sf_emea");
        assert_eq!(slug("3M"), "s_3m");
        assert_eq!(slug("日本"), "source");
    }
}
