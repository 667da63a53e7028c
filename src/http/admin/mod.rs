//! What admins do below `/v1/admin`, a file for each thing.

pub mod accounts;
pub mod admins;
pub mod audit;
pub mod credit;
pub mod events;
pub mod invites;
mod keys;
pub mod overview;
pub mod prices;
pub mod provider_view;
pub mod providers;
pub mod refunds;
pub mod session;
pub mod withdrawals;

use actix_web::web::{self, ServiceConfig};

use crate::http::shared::resource::resource;

/// The routes of this room.
pub fn routes(app: &mut ServiceConfig) {
    app.service(resource("/v1/admin/credit").route(web::post().to(credit::credit)))
        .service(resource("/v1/admin/debit").route(web::post().to(credit::debit)))
        .configure(accounts::routes)
        .configure(admins::routes)
        .configure(keys::routes)
        .configure(refunds::routes)
        .configure(prices::routes)
        .configure(providers::routes)
        .configure(events::routes);
}
