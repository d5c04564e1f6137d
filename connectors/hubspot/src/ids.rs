//! Record ids: 64-bit integers, written as decimal text. They are ordered by their values, not by their bytes.

/// The id, if it is valid.
pub(crate) fn check(id: &str) -> Option<&str> {
    let plain = !id.is_empty() && id.len() <= 19 && id.bytes().all(|b| b.is_ascii_digit());
    (plain && (id == "0" || !id.starts_with('0'))).then_some(id)
}

/// The value of a checked id; an invalid id is last.
pub(crate) fn value(id: &str) -> u64 {
    id.parse().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_numbers() {
        for id in ["0", "51", "9999999999", "10000000000", "9223372036854775807"] {
            assert_eq!(check(id), Some(id));
        }
        for id in [
            "",
            "051",
            "-1",
            "1.0",
            "a",
            "12345678901234567890",
            "1 OR 1",
            "../x",
        ] {
            assert_eq!(check(id), None, "{id}");
        }
        assert!(value("9999999999") < value("10000000000"));
    }
}
