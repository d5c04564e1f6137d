//! Record ids: three characters of prefix, two of instance, ten of number, three of checksum.
//!
//! The digits are in ASCII order, so the order of ids is the order of rows and an id is decoded by arithmetic.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// Every org has the same instance code: a sandbox copy keeps the ids of its production org, so programs that
/// identify rows by the record id alone have wrong results.
const INSTANCE: &[u8; 2] = b"Hs";

/// Ids do not start at zero, as they do not in a real org.
const FIRST: u64 = 2_600_000_000;

/// The 18 characters of a row's id.
pub(crate) fn encode(prefix: &str, row: u32) -> [u8; 18] {
    let mut id = [b'0'; 18];
    id[..3].copy_from_slice(&prefix.as_bytes()[..3]);
    id[3..5].copy_from_slice(INSTANCE);
    let mut number = FIRST + u64::from(row);
    for at in (5..15).rev() {
        id[at] = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    let check = checksum(&id);
    id[15..].copy_from_slice(&check);
    id
}

/// The row of an id with this prefix, if the id is valid.
pub(crate) fn decode(prefix: &str, id: &str) -> Option<u32> {
    let id15 = normalise(id)?;
    if &id15[..3] != prefix.as_bytes() || &id15[3..5] != INSTANCE {
        return None;
    }
    let mut number: u64 = 0;
    for digit in &id15[5..] {
        let value = DIGITS.iter().position(|d| d == digit)? as u64;
        number = number.checked_mul(62)?.checked_add(value)?;
    }
    u32::try_from(number.checked_sub(FIRST)?).ok()
}

/// The 15 significant characters of a well-formed id; None if length, alphabet or checksum are wrong.
pub(crate) fn normalise(id: &str) -> Option<[u8; 15]> {
    let bytes = id.as_bytes();
    if !(bytes.len() == 15 || bytes.len() == 18) || !bytes.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let id15: [u8; 15] = bytes[..15].try_into().ok()?;
    if bytes.len() == 18 && checksum(bytes) != bytes[15..] {
        return None;
    }
    Some(id15)
}

/// The upper-case letters of each group of five are the bits of one check character.
fn checksum(id: &[u8]) -> [u8; 3] {
    let mut out = [0; 3];
    for (group, check) in id[..15].chunks(5).zip(&mut out) {
        let bits = group.iter().enumerate().fold(0usize, |bits, (at, c)| {
            bits | (usize::from(c.is_ascii_uppercase()) << at)
        });
        *check = CHECK[bits];
    }
    out
}

/// An id as text.
pub(crate) fn text(prefix: &str, row: u32) -> String {
    encode(prefix, row).iter().map(|b| *b as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pairs published in Salesforce's own documentation.
    #[test]
    fn checksums_are_salesforces() {
        assert_eq!(&checksum(b"00Dx0000000BV7z"), b"EAG");
        assert_eq!(&checksum(b"005x0000001SGHP"), b"AA4");
        assert!(normalise("00Dx0000000BV7zEAG").is_some());
        assert!(normalise("00Dx0000000BV7zEAH").is_none());
    }

    proptest! {
        #[test]
        fn ids_round_trip_and_keep_the_order_of_rows(a: u32, b: u32) {
            let (x, y) = (text("001", a), text("001", b));
            prop_assert_eq!(decode("001", &x), Some(a));
            prop_assert_eq!(decode("001", &x[..15]), Some(a));
            prop_assert_eq!(a.cmp(&b), x[..15].cmp(&y[..15]));
        }

        #[test]
        fn any_text_is_survived(s in ".{0,20}") {
            let _ = decode("001", &s);
        }
    }
}
