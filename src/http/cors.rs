//! Browsers of other origins: refused, unless the operator names them.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};

use super::error::{ApiError, Envelope};
use super::log;
use super::world::World;

/// Checks the `Origin` of every request that has one.
///
/// # Errors
/// None of its own.
pub async fn middleware(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let allowed =
        request.app_data::<Data<World>>().is_some_and(|world| is_allowed(&world.settings.cors_origins, &origin));
    if !allowed {
        if is_own(request.headers(), &origin) {
            return Ok(next.call(request).await?.map_into_left_body());
        }
        let e = ApiError::forbidden("browsers of other origins are refused: see serve --cors-origin");
        let id = log::arrived(request.request()).id;
        let response = e.response(Envelope::of_path(request.path()), Some(id));
        return Ok(request.into_response(response).map_into_right_body());
    }
    if request.method() == Method::OPTIONS {
        let mut response = HttpResponse::NoContent().finish();
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "authorization, x-api-key, content-type, accept, idempotency-key, anthropic-version, anthropic-beta, \
                 anthropic-dangerous-direct-browser-access, x-stainless-arch, x-stainless-lang, x-stainless-os, \
                 x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, \
                 x-stainless-runtime-version, x-stainless-timeout, x-stainless-helper-method",
            ),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        allow(headers, origin);
        return Ok(request.into_response(response).map_into_right_body());
    }
    let mut response = next.call(request).await?;
    allow(response.headers_mut(), origin);
    Ok(response.map_into_left_body())
}

fn is_allowed(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
}

/// The page came from this server: `Origin` is a scheme and the `Host` it was asked under.
fn is_own(headers: &HeaderMap, origin: &HeaderValue) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((host, from), (Some(host), Some(("http" | "https", from))) if host.eq_ignore_ascii_case(from))
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "x-request-id, x-cost-micro-usd, x-balance-micro-usd, x-max-tokens-limited, x-should-retry, x-idempotent-replay-of, \
             x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, link, retry-after",
        ),
    );
}
