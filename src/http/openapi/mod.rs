//! `/openapi.json`: what the API takes and answers, from the code's own types.

mod answers;
mod document;
mod parameters;
mod requests;
#[expect(dead_code, reason = "shapes to document, never made")]
pub mod wire;

use std::sync::OnceLock;

use actix_web::HttpResponse;
use actix_web::web::Bytes;

use crate::http::shared::route::Route;

/// The document of the server's routes, put together once.
pub fn answer(routes: &[Route]) -> HttpResponse {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| Bytes::from(document::document(routes).to_string()));
    HttpResponse::Ok().content_type("application/json").body(text.clone())
}

#[cfg(test)]
mod tests;
