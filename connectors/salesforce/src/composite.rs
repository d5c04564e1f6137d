//! Several GETs in one call. The endpoint could write too, so a body is built from GETs only and is checked again
//! before it is sent.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The largest number of queries in one composite call.
pub(crate) const MOST_QUERIES: usize = 5;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    all_or_none: bool,
    collate_subrequests: bool,
    composite_request: Vec<Part>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Part {
    method: String,
    reference_id: String,
    url: String,
}

/// The answer of one part.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The index of its request.
    pub(crate) index: usize,
    pub(crate) status: u16,
    /// JSON: an object, or an array of errors.
    pub(crate) body: String,
}

/// The body for GETs of these paths. The answers refer to them by index.
pub(crate) fn body(paths: &[String]) -> String {
    let parts = paths.iter().enumerate().map(|(i, path)| Part {
        method: "GET".to_owned(),
        reference_id: format!("r{i}"),
        url: path.clone(),
    });
    let body = Body {
        all_or_none: false,
        collate_subrequests: false,
        composite_request: parts.collect(),
    };
    serde_json::to_string(&body).unwrap_or_default()
}

/// Checks that a body contains only GETs of data.
pub(crate) fn check(body: &[u8]) -> Result<(), String> {
    let body: Body =
        serde_json::from_slice(body).map_err(|_| "not a composite body of the known form".to_owned())?;
    if body.composite_request.is_empty() {
        return Err("an empty composite body".to_owned());
    }
    for part in &body.composite_request {
        let path = part
            .url
            .split('?')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if part.method != "GET"
            || !path.starts_with("/services/data/v")
            || ["..", "//", "%2e", "%2f", "%5c", "\\"]
                .iter()
                .any(|odd| path.contains(odd))
            || part.url.to_ascii_lowercase().contains("_httpmethod")
        {
            return Err("a part of the composite body is not a plain GET of data".to_owned());
        }
    }
    Ok(())
}

/// Reads the reply. The status of the whole reply has no meaning: each part has its own.
pub(crate) fn read(text: &str) -> Result<Vec<Answer>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply<'a> {
        #[serde(borrow)]
        composite_response: Vec<Answered<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answered<'a> {
        #[serde(borrow, default)]
        body: Option<&'a RawValue>,
        http_status_code: u16,
        reference_id: String,
    }
    let reply: Reply<'_> = serde_json::from_str(text)?;
    let answers = reply.composite_response.into_iter().filter_map(|part| {
        Some(Answer {
            index: part.reference_id.strip_prefix('r')?.parse().ok()?,
            status: part.http_status_code,
            body: part.body.map_or("null", RawValue::get).to_owned(),
        })
    });
    Ok(answers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_passes_the_check() {
        let body = body(&[
            "/services/data/v62.0/query?q=SELECT+Id".into(),
            "/services/data/v62.0/sobjects".into(),
        ]);
        assert_eq!(check(body.as_bytes()), Ok(()));
        assert!(body.contains(r#""allOrNone":false"#) && body.contains(r#""referenceId":"r1""#));
    }

    #[test]
    fn anything_that_could_write_is_refused() {
        let good = body(&["/services/data/v62.0/query?q=x".into()]);
        for bad in [
            good.replace("GET", "PATCH"),
            good.replace("GET", "get"),
            good.replace("/services/data/", "/services/apexrest/"),
            good.replace("/query?", "/../../apexrest?"),
            good.replace("?q=x", "?_HttpMethod=DELETE"),
            good.replace(r#""method""#, r#""body":{"Name":"x"},"method""#),
            good.replace(r#""method":"GET""#, r#""method":"GET","method":"POST""#),
            body(&[]),
            "{}".to_owned(),
            "[]".to_owned(),
            String::new(),
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_part_has_its_own_status() {
        let answers = read(
            r#"{"compositeResponse":[{"body":[{"errorCode":"INVALID_TYPE","message":"no"}],"httpHeaders":{},
               "httpStatusCode":400,"referenceId":"r1"},{"body":{"totalSize":1},"httpStatusCode":200,"referenceId":"r0"}]}"#,
        )
        .unwrap();
        assert_eq!((answers[0].index, answers[0].status), (1, 400));
        assert_eq!(answers[1].body, r#"{"totalSize":1}"#);
        assert!(read("{}").is_err());
    }
}
