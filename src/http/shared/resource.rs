//! A path and what it says to methods that it does not take.

use actix_web::{Resource, web};

use crate::http::shared::unknown;

/// A path that answers 405 to the methods it does not know.
pub fn resource(path: &str) -> Resource {
    web::resource(path.to_owned()).default_service(web::to(unknown::wrong_method))
}
