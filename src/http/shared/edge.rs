//! What every request meets first: its origin, and habits of HTTP that no handler should have to know.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderValue, ORIGIN, UPGRADE};
use actix_web::http::uri::PathAndQuery;
use actix_web::http::{ConnectionType, Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpMessage, HttpResponse};

use crate::http::shared::cors::{self, Verdict};
use crate::http::shared::error::{ApiError, envelope_of};
use crate::http::shared::log::{self, WasHead};
use crate::http::shared::outside::Outside;
use crate::http::shared::seen::Seen;
use crate::http::shared::unread::Kept;
use crate::http::state::AppState;

/// What is out of the ordinary in a request, before it is routed.
struct Unusual {
    is_head: bool,
    wants_upgrade: bool,
    chunked: Option<Kept>,
    verdict: Verdict,
}

impl Unusual {
    /// Nearly always there is nothing.
    fn of(request: &mut ServiceRequest) -> Option<Self> {
        let is_head = request.method() == Method::HEAD;
        let wants_upgrade = request.head().upgrade();
        let (chunked, verdict) = (Kept::of(request), verdict(request));
        let is_usual = !is_head && !wants_upgrade && chunked.is_none() && matches!(verdict, Verdict::Silent);
        (!is_usual).then_some(Self { is_head, wants_upgrade, chunked, verdict })
    }
}

/// Gives the request its id and its line in the log, checks the origin, answers what needs no route, and turns a HEAD
/// into a GET whose body is left out. One middleware: each is another future in another.
///
/// # Errors
/// None of its own.
pub async fn middleware(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    leave_out_public_path(&mut request);
    let arrived = log::begin(&request);
    let mut response = match Unusual::of(&mut request) {
        None => next.call(request).await?.map_into_left_body(),
        Some(unusual) => Box::pin(serve(unusual, request, next)).await?,
    };
    log::end(&mut response, arrived);
    Ok(response)
}

async fn serve<B: MessageBody + 'static>(
    Unusual { is_head, wants_upgrade, chunked, verdict }: Unusual,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if is_head {
        request.head_mut().method = Method::GET;
        request.extensions_mut().insert(WasHead);
    }
    let origin = match verdict {
        Verdict::Silent => None,
        Verdict::Allowed(origin) => Some(origin),
        Verdict::Refused(refusal) => {
            let response = answer(&request, &refusal);
            return Ok(request.into_response(response).map_into_right_body());
        }
    };
    let early = match &origin {
        Some(origin) => cors::preflight(request.method(), request.headers(), origin),
        None => None,
    };
    let early = early.or_else(|| if wants_upgrade { no_websocket(&request) } else { None });
    let mut response = match early {
        Some(response) => request.into_response(response).map_into_right_body(),
        None => next.call(request).await?.map_into_left_body(),
    };
    if let Some(origin) = origin
        && !response.headers().contains_key("access-control-allow-origin")
    {
        cors::allow(response.headers_mut(), origin);
    }
    if wants_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // actix would say `connection: upgrade`, which this is not, and close: then it should say so.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if let Some(unread) = chunked.filter(|chunked| !chunked.is_read()) {
        response = response.map_body(|_, body| EitherBody::right(unread.behind(body.boxed())));
    }
    Ok(if is_head {
        response.map_body(|_, body| EitherBody::right(BoxBody::new(LeftOut(body.size()))))
    } else {
        response
    })
}

fn verdict(request: &ServiceRequest) -> Verdict {
    let headers = request.headers();
    if !headers.contains_key(ORIGIN) {
        return Verdict::Silent;
    }
    match request.app_data::<Data<AppState>>() {
        Some(state) => cors::judge(&state.settings.cors_origins, headers, &Seen::of(request.request())),
        None => Verdict::Silent,
    }
}

/// A proxy may leave on the path below which everything is: the routes know nothing of it.
fn leave_out_public_path(request: &mut ServiceRequest) {
    let outside = request.app_data::<Data<AppState>>().map(|state| &state.settings.outside);
    let Some(path) = outside.map(Outside::path).filter(|path| !path.is_empty()) else { return };
    let asked = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    let rest = asked.strip_prefix(path).filter(|rest| rest.starts_with('/'));
    let Some(Ok(uri)) = rest.map(str::parse::<Uri>) else { return };
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
}

fn answer(request: &ServiceRequest, e: &ApiError) -> HttpResponse {
    e.response(envelope_of(request.path()), Some(log::arrived(request.request()).id))
}

/// 426 for a WebSocket where SDKs try one first and then do without. Any other upgrade may be ignored, but one to a
/// WebSocket with a body cannot: where the body ends is not said.
fn no_websocket(request: &ServiceRequest) -> Option<HttpResponse> {
    let is_websocket = request
        .headers()
        .get_all(UPGRADE)
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket")));
    let may_ignore = request.method() == Method::GET && request.path() != "/v1/responses";
    if !is_websocket || may_ignore {
        return None;
    }
    let mut response = answer(request, &ApiError::no_upgrade());
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    Some(response)
}

/// The size of a body that is not sent. A stream has none: actix would end its chunks, and that is a body.
struct LeftOut(BodySize);

impl MessageBody for LeftOut {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        if self.0 == BodySize::Stream { BodySize::None } else { self.0 }
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}
