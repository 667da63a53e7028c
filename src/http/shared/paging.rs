//! Lists: a page of JSON with a `Link` to the next one, or all of it as CSV.

use actix_web::http::header::{ACCEPT, CONTENT_DISPOSITION, LINK};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::Serialize;

use crate::http::shared::error::ApiError;
use crate::http::shared::query::Query;
use crate::http::shared::seen::Seen;

/// Rows of one read of an export: the whole of it never lies in memory.
pub const CSV_ROWS: u32 = 1_000;

/// A page of JSON. `rows` are one more than `limit` if there is another page; `id` is what it goes on from.
pub fn json<T: Serialize>(
    request: &HttpRequest,
    query: &Query,
    mut rows: Vec<T>,
    limit: u32,
    id: impl Fn(&T) -> String,
) -> HttpResponse {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut response = HttpResponse::Ok();
    if rows.len() > limit {
        rows.truncate(limit);
        if let Some(last) = rows.last() {
            response
                .insert_header((LINK, query.next_page(&[Seen::of(request).path, request.path()].concat(), &id(last))));
        }
    }
    response.json(rows)
}

/// The client asked for CSV.
///
/// # Errors
/// 400 for another format.
pub fn wants_csv(request: &HttpRequest, query: &Query) -> Result<bool, ApiError> {
    let format = query.parsed("format", "csv or json", |text| match text {
        "csv" => Some(true),
        "json" => Some(false),
        _ => None,
    })?;
    let accepts =
        || request.headers().get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.starts_with("text/csv"));
    Ok(format.unwrap_or_else(accepts))
}

/// All rows as a download. `read` gives the text of the next [`CSV_ROWS`] rows after an id (of the first
/// ones, with the header line, for `None`), and the id to go on from if there may be more.
pub fn csv<Id, Read, Reading>(file: &str, read: Read) -> HttpResponse
where
    Id: 'static,
    Read: Fn(Option<Id>) -> Reading + 'static,
    Reading: Future<Output = Result<(Vec<u8>, Option<Id>), ApiError>> + 'static,
{
    let pages = stream::unfold(Some((read, None)), |state| async move {
        let (read, after) = state?;
        Some(match read(after).await {
            Ok((text, Some(last))) => (Ok(Bytes::from(text)), Some((read, Some(last)))),
            Ok((text, None)) => (Ok(Bytes::from(text)), None),
            // The status is out already: breaking off is all that can still be said.
            Err(e) => (Err(e), None),
        })
    });
    HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{file}\"")))
        .streaming(pages)
}

/// The id to go on from, if a read gave as many rows as it may.
pub fn more<T, Id>(rows: &[T], id: impl Fn(&T) -> Id) -> Option<Id> {
    let full = rows.len() >= usize::try_from(CSV_ROWS).unwrap_or(usize::MAX);
    rows.last().filter(|_| full).map(id)
}
