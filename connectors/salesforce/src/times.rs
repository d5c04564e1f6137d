//! The one form of time that only HTTP uses.

use tether_connector_sdk::payload::timestamp_us;

const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// The `Date` header, `Sun, 06 Nov 1994 08:49:37 GMT`, in unix microseconds.
pub(crate) fn http_date(text: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace().skip(1);
    let (day, month, year, clock) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    timestamp_us(&format!("{year}-{month:02}-{day:0>2}T{clock}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_header() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777_000_000)
        );
        for bad in [
            "",
            "Sun",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 anF 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
