//! JSON text that JSON's own grammar takes and its readers do not.

use std::borrow::Cow;

/// JSON in which each half of a surrogate pair that stands alone (`\ud83d`, left where a CRM cut a text) is `\ufffd`. Readers
/// refuse the whole text else.
#[must_use]
pub fn whole_surrogates(json: Cow<'_, str>) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut alone: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| *b == b'\\'))
    {
        let escape = at + found;
        at = match unit(bytes, escape) {
            // A pair is one character.
            Some(0xd800..=0xdbff) if matches!(unit(bytes, escape + 6), Some(0xdc00..=0xdfff)) => escape + 12,
            Some(0xd800..=0xdfff) => {
                alone.push(escape);
                escape + 6
            }
            _ => escape + 2,
        };
    }
    if alone.is_empty() {
        return json;
    }
    let mut whole = String::with_capacity(json.len());
    let mut from = 0;
    for escape in alone {
        whole.push_str(&json[from..escape]);
        whole.push_str("\\ufffd");
        from = escape + 6;
    }
    whole.push_str(&json[from..]);
    Cow::Owned(whole)
}

/// The UTF-16 unit that is escaped here.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_that_stand_alone_are_replaced_and_nothing_else() {
        for (json, whole) in [
            (r#""plain""#, r#""plain""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""a\uD83Db""#, r#""a\ufffdb""#),
            (r#""\ude00 \ud83d \n""#, r#""\ufffd \ufffd \n""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            // An escaped backslash, and then the letter u.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\u12"#, r#""\u12"#),
            (r#"\"#, r#"\"#),
        ] {
            assert_eq!(whole_surrogates(Cow::Borrowed(json)), whole, "{json}");
            if json.ends_with('"') && json.len() > 1 {
                assert!(serde_json::from_str::<String>(whole).is_ok(), "{whole}");
            }
        }
    }
}
