//! Reading the CRM's replies, and the pauses between attempts.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, header};

use super::Response;
use crate::proto::Error;

/// Longer waits requested by a CRM are limited to this.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
/// The longest pause of [`back_off`].
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// The largest number of characters of a line of [`one_line`].
const LONGEST_LINE: usize = 300;

impl Response {
    /// The time of the reply by the CRM's clock (its `Date` header), in unix microseconds.
    #[must_use]
    pub fn made_us(&self) -> Option<i64> {
        let since = self.date()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_micros()).ok()
    }

    fn date(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.header(&header::DATE)?).ok()
    }

    /// How long the CRM asks to wait: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), at most one day.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header(&header::RETRY_AFTER)?.trim();
        if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Some(
                text.parse()
                    .map_or(LONGEST_WAIT, Duration::from_secs)
                    .min(LONGEST_WAIT),
            );
        }
        let until = httpdate::parse_http_date(text).ok()?;
        // Relative to the CRM's clock, if the reply has its time.
        let now = self.date().unwrap_or_else(SystemTime::now);
        Some(until.duration_since(now).unwrap_or_default().min(LONGEST_WAIT))
    }

    /// The body as text: invalid UTF-8 is replaced, and NULs are removed because they cannot be stored. Lone
    /// surrogates in JSON are replaced when the body is received.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(&self.body);
        if text.contains('\0') {
            Cow::Owned(text.replace('\0', ""))
        } else {
            text
        }
    }

    /// Whether it is a web page: the reply of a gateway, not of an API.
    #[must_use]
    pub fn is_page(&self) -> bool {
        is_page(&self.body)
    }

    /// The error for a reply that is not JSON: a gateway's page, a truncated body. A retry may succeed.
    #[must_use]
    pub fn unreadable(&self, crm: &str, error: &serde_json::Error) -> Error {
        let text = if self.is_page() {
            format!(
                "{crm} answered with a web page instead of data: a login page, a maintenance page or that of a proxy"
            )
        } else {
            let (line, column, bytes) = (error.line(), error.column(), self.body.len());
            format!(
                "{crm} answered with what is not the JSON expected (line {line} column {column} of {bytes} bytes)"
            )
        };
        Error::transient(text).code("http.unreadable")
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Whether a body is a web page.
#[must_use]
pub fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// A random number between 0 and 1, so that pauses do not end at the same time.
#[must_use]
pub fn jitter() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

/// The pause before attempt `attempt` (1 is the first retry): `base`, doubled each time, at most one minute.
/// `jitter`, between 0 and 1, shortens it by up to one half.
#[must_use]
pub fn back_off(base: Duration, attempt: u32, jitter: f64) -> Duration {
    let full = base
        .saturating_mul(1 << attempt.saturating_sub(1).min(10))
        .min(LONGEST_BACK_OFF);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// A message of the CRM for an error's text: in one line, at most 300 characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    line(text, LONGEST_LINE)
}

/// A text in one line of at most `most` characters.
pub(super) fn line(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    let mut length = 0;
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        let room = most - length;
        length += word.chars().count() + 1;
        if length > most {
            // Cut after a word, unless that would remove too much: some languages have no spaces.
            let part = if room > most / 2 { room - 1 } else { 0 };
            line.extend(word.chars().take(part));
            line.truncate(line.trim_end().len());
            line.push('…');
            break;
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn response(name: HeaderName, value: &'static str) -> Response {
        Response {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(name, HeaderValue::from_static(value))]),
            body: Bytes::new(),
        }
    }

    #[test]
    fn dates_are_read_and_nothing_else() {
        let made = |value| response(header::DATE, value).made_us();
        assert_eq!(made("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000_000));
        for bad in [
            "",
            "Sun",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 anF 1994 08:49:37 GMT",
        ] {
            assert_eq!(made(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_are_read_in_both_forms_and_are_a_day_at_most() {
        let wait = |value| response(header::RETRY_AFTER, value).retry_after();
        assert_eq!(wait("17"), Some(Duration::from_secs(17)));
        assert_eq!(wait(" 999999999 "), Some(LONGEST_WAIT));
        assert_eq!(wait("99999999999999999999999"), Some(LONGEST_WAIT));
        let mut both = response(header::RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT");
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:07 GMT");
        both.headers.insert(header::DATE, date);
        assert_eq!(both.retry_after(), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Wed, 06 Nov 2999 08:49:37 GMT"), Some(LONGEST_WAIT));
        for bad in ["", "-1", "soon", "1.5"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }

    #[test]
    fn pauses_double_and_end_at_a_minute() {
        let base = Duration::from_millis(500);
        assert_eq!(back_off(base, 1, 1.0), base);
        assert_eq!(back_off(base, 3, 1.0), base * 4);
        assert_eq!(back_off(base, 3, 0.0), base * 2);
        assert_eq!(back_off(base, 30, 1.0), LONGEST_BACK_OFF);
        assert!((0.0..=1.0).contains(&jitter()));
    }

    #[test]
    fn lines_are_cut_at_words() {
        assert_eq!(one_line(" a \r\n b\t"), "a b");
        let long = "x".repeat(99) + " ";
        assert_eq!(one_line(&long.repeat(3)), long.repeat(3).trim_end());
        assert_eq!(
            one_line(&long.repeat(4)),
            long.repeat(3).trim_end().to_owned() + "…"
        );
        assert_eq!(one_line(""), "");
        assert_eq!(one_line(&"あ".repeat(400)), "あ".repeat(299) + "…");
    }
}
