//! What admins do below `/v1/admin`, a file for each thing.

mod accounts;
mod credit;
mod earnings;
mod events;
mod keys;
mod pricing;
mod provider_view;
mod providers;
mod refund;

use actix_web::web::{self, ServiceConfig};

pub use credit::{answer, money_write};

/// The routes of this room.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/credit").route(web::post().to(credit::credit)))
        .configure(accounts::routes)
        .configure(keys::routes)
        .configure(refund::routes)
        .configure(pricing::routes)
        .configure(providers::routes)
        .configure(events::routes);
}

/// The path's resource; a method that it does not have is answered as any unknown path is.
fn resource(path: &str) -> actix_web::Resource {
    web::resource(path.to_owned()).default_service(web::to(super::not_implemented))
}
