//! What admins do below `/v1/admin`, a file for each thing.

pub mod accounts;
pub mod admins;
pub mod credit;
mod earnings;
pub mod events;
mod keys;
pub mod pricing;
pub mod provider_view;
pub mod providers;
pub mod refund;

use actix_web::web::{self, ServiceConfig};

pub use credit::{amount, money_write};

use super::resource;

/// The routes of this room.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/credit").route(web::post().to(credit::credit)))
        .service(resource("/v1/admin/debit").route(web::post().to(credit::debit)))
        .configure(accounts::routes)
        .configure(admins::routes)
        .configure(keys::routes)
        .configure(refund::routes)
        .configure(pricing::routes)
        .configure(providers::routes)
        .configure(events::routes);
}
