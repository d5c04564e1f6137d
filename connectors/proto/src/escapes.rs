//! Escapes in JSON that cannot be stored as text: lone surrogates, and NUL.
//!
//! JSON allows both, and CRMs return whatever other programs stored. A strict parser rejects a whole page because of
//! one lone surrogate; PostgreSQL cannot store NUL. Both sides use this code: the SDK for replies of a CRM, the host
//! for payloads of connectors without the SDK.

/// The number of an escape `\uXXXX` at the beginning.
fn unit(json: &[u8]) -> Option<u16> {
    let hex = json.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// The escapes `\uXXXX`: (index, number). In JSON, backslashes occur only in strings.
fn units(json: &[u8]) -> impl Iterator<Item = (usize, u16)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += json.get(at..)?.iter().position(|byte| *byte == b'\\')?;
            let here = at;
            match unit(&json[here..]) {
                Some(number) => {
                    at += 6;
                    return Some((here, number));
                }
                None => at += 2,
            }
        }
    })
}

/// Replaces escapes of lone surrogates by U+FFFD, in place.
pub fn mend_surrogates(json: &mut [u8]) {
    let mut lone: Vec<usize> = Vec::new();
    let mut high: Option<usize> = None;
    for (at, number) in units(json) {
        match number {
            0xdc00..0xe000 if high.take_if(|before| *before + 6 == at).is_some() => {}
            0xd800..0xdc00 => lone.extend(high.replace(at)),
            0xdc00..0xe000 => lone.push(at),
            _ => {}
        }
    }
    lone.extend(high);
    for at in lone {
        json[at + 2..at + 6].copy_from_slice(b"fffd");
    }
}

/// Removes escapes of NUL.
#[must_use]
pub fn without_nul(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut from = 0;
    for (at, _) in units(json.as_bytes()).filter(|(_, number)| *number == 0) {
        out.push_str(&json[from..at]);
        from = at + 6;
    }
    out.push_str(&json[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(json: &str) -> String {
        let mut bytes = json.as_bytes().to_vec();
        mend_surrogates(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn halves_of_pairs_are_mended() {
        for (json, expected) in [
            (r#""a\ud83db""#, r#""a\ufffdb""#),
            (r#""\uDE00""#, r#""\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (r#""\ud83d \ude00""#, r#""\ufffd \ufffd""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            (r#""\u00e9\"\u12""#, r#""\u00e9\"\u12""#),
            ("\"é\\", "\"é\\"),
            (r#""\ude00 \ud83d \n""#, r#""\ufffd \ufffd \n""#),
            (r#""\u12"#, r#""\u12"#),
            (r"\", r"\"),
        ] {
            assert_eq!(mended(json), expected, "{json}");
        }
    }

    #[test]
    fn nul_is_left_out() {
        for (json, expected) in [
            (r#"{"a":"x\u0000y\u0000"}"#, r#"{"a":"xy"}"#),
            (r#""\\u0000""#, r#""\\u0000""#),
            (r#""\\\u0000é""#, r#""\\é""#),
            (r#""\u0001""#, r#""\u0001""#),
        ] {
            assert_eq!(without_nul(json), expected, "{json}");
        }
    }
}
