//! Query strings: named, typed, with an error that says which.

use std::collections::HashMap;

use actix_web::HttpRequest;
use actix_web::web::Query as ActixQuery;

use crate::http::shared::error::ApiError;

/// The parameters of a query string. Unknown ones are ignored.
#[derive(Debug, Clone)]
pub struct Query(HashMap<String, String>);

impl Query {
    /// Reads a request's.
    ///
    /// # Errors
    /// 400 for one that is not `name=value&…`.
    pub fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let parsed = ActixQuery::<HashMap<String, String>>::from_query(request.query_string());
        let ActixQuery(map) = parsed.map_err(|e| ApiError::invalid(None, format!("the query cannot be read: {e}")))?;
        Ok(Self(map))
    }

    /// A parameter's text; an empty one counts as not given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A parameter read with `parse`.
    pub fn parsed<T>(
        &self,
        name: &str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let read = |text| parse(text).ok_or_else(|| ApiError::invalid(Some(name), format!("{name} must be {what}")));
        self.text(name).map(read).transpose()
    }

    /// `limit`, between 1 and 1000.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn limit(&self, default: u32) -> Result<u32, ApiError> {
        let in_range = |text: &str| text.parse().ok().filter(|n| (1..=1_000).contains(n));
        Ok(self.parsed("limit", "an integer between 1 and 1000", in_range)?.unwrap_or(default))
    }

    /// A `Link` header's value that asks for the page after `last`.
    pub fn next_page(&self, path: &str, last: &str) -> String {
        let mut pairs: Vec<(&str, &str)> =
            self.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).filter(|(k, _)| *k != "before").collect();
        pairs.push(("before", last));
        pairs.sort_unstable();
        let query: Vec<String> = pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        format!("<{path}?{}>; rel=\"next\"", query.join("&"))
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn parameters_are_read_and_written_back() {
        let request = TestRequest::with_uri("/x?limit=5&before=req_1&model=a%2Fb&empty=").to_http_request();
        let Ok(query) = Query::of(&request) else { panic!() };
        assert_eq!(query.limit(100).ok(), Some(5));
        assert_eq!((query.text("model"), query.text("empty"), query.text("none")), (Some("a/b"), None, None));
        assert_eq!(query.next_page("/x", "req_0"), "</x?before=req_0&empty=&limit=5&model=a%2Fb>; rel=\"next\"");
        for bad in ["0", "1001", "-1", "x", "1.5"] {
            let request = TestRequest::with_uri(&format!("/x?limit={bad}")).to_http_request();
            let limit = Query::of(&request).and_then(|q| q.limit(100));
            assert_eq!(limit.map_err(|e| e.status().as_u16()), Err(400), "{bad}");
        }
    }
}
