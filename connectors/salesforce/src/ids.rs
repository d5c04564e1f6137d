//! Record ids: 15 case-sensitive characters, or 18 with a checksum of the case. tether stores only the form with 18.

const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// The id that means "no record" in feeds and shares.
pub(crate) const EMPTY_KEY: &str = "000000000000000";

/// The id with 18 characters, or None if the text is not an id, has a wrong checksum or is the empty key.
pub(crate) fn normalise(id: &str) -> Option<String> {
    let bytes = id.as_bytes();
    if !matches!(bytes.len(), 15 | 18)
        || !bytes.iter().all(u8::is_ascii_alphanumeric)
        || id.starts_with(EMPTY_KEY)
    {
        return None;
    }
    let (body, given) = bytes.split_at(15);
    let check = checksum(body);
    if !given.is_empty() && !given.eq_ignore_ascii_case(&check) {
        return None;
    }
    let mut out = String::with_capacity(18);
    out.push_str(&id[..15]);
    out.extend(check.iter().map(|&b| char::from(b)));
    Some(out)
}

/// Three characters; each encodes which of five letters are upper case.
fn checksum(body: &[u8]) -> [u8; 3] {
    let mut check = [0; 3];
    for (slot, group) in check.iter_mut().zip(body.chunks(5)) {
        let upper = group
            .iter()
            .enumerate()
            .filter(|(_, b)| b.is_ascii_uppercase())
            .fold(0usize, |bits, (i, _)| bits | 1 << i);
        *slot = CHECK[upper];
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_becomes_eighteen() {
        assert_eq!(
            normalise("00Dx0000000BV7z").as_deref(),
            Some("00Dx0000000BV7zEAG")
        );
        assert_eq!(
            normalise("005x00000012Q9P").as_deref(),
            Some("005x00000012Q9PAAU")
        );
    }

    #[test]
    fn eighteen_is_checked_and_case_is_kept() {
        assert_eq!(
            normalise("00Dx0000000BV7zEAG").as_deref(),
            Some("00Dx0000000BV7zEAG")
        );
        assert_eq!(
            normalise("00Dx0000000BV7zeag").as_deref(),
            Some("00Dx0000000BV7zEAG")
        );
        assert_eq!(normalise("00dx0000000BV7zEAG"), None);
        assert_ne!(normalise("001000000000aAa"), normalise("001000000000aaA"));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for id in [
            "",
            "001",
            "00Dx0000000BV7'",
            "000000000000000AAA",
            "000000000000000",
            "00Dx0000000BV7zEAGx",
        ] {
            assert_eq!(normalise(id), None, "{id}");
        }
    }
}
