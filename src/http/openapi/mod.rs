//! `/openapi.json`: what the API takes and answers, from the code's own types.

mod answers;
mod document;
mod parameters;
mod requests;
mod routes;
#[expect(dead_code, reason = "shapes to document, never made")]
pub mod wire;

use std::sync::OnceLock;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, ServiceConfig};

use crate::http::shared::resource::resource;
pub use routes::ROUTES;

/// The route of the document.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/openapi.json").route(web::get().to(get)));
}

async fn get() -> HttpResponse {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| Bytes::from(document::document().to_string()));
    HttpResponse::Ok().content_type("application/json").body(text.clone())
}

#[cfg(test)]
mod tests;
