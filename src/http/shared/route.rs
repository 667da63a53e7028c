//! A route: its method, its path, who may ask, what handles it, and what its documentation says.

use std::borrow::Cow;
use std::future::Future;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::shared::unknown;

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `get`, `post` …
    pub method: &'static str,
    /// With `{name}` for what varies.
    pub path: &'static str,
    /// A pattern for what varies at the end of the path, where that may have slashes in it, as a model's name may.
    rest: Option<&'static str>,
    /// Who may ask.
    pub access: Access,
    mount: fn() -> actix_web::Route,
    /// What it does.
    pub says: &'static str,
    /// Names of query parameters, with blanks between.
    pub query: &'static str,
    /// The schema of its body.
    pub body: Body,
    /// What it answers if all is well.
    pub answer: Answer,
    /// Statuses of errors beyond those that follow from the rest.
    pub errors: &'static [u16],
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Anybody,
    /// Any key of an account.
    Key,
    /// A key with the scope `inference`.
    Inference,
    /// A key with the scope `manage`.
    Manage,
    /// A key with the scope `provide`.
    Provide,
    /// An admin's key or session.
    Admin,
}

/// A schema of the document.
#[derive(Debug, Clone, Copy)]
pub enum Described {
    /// That of a type: its name, and itself with all that it refers to.
    Type(fn() -> Cow<'static, str>, fn(&mut Vec<(String, RefOr<Schema>)>)),
    /// One that is written down, by its name.
    Named(&'static str),
}

/// A request's body.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// None is read.
    None,
    /// JSON of a schema.
    Json(Described),
    /// The same, or nothing at all.
    Maybe(Described),
}

/// What a route answers.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// JSON of a schema.
    One(u16, Described),
    /// A JSON array of it.
    Many(Described),
    /// The same, or all of it as CSV.
    Rows(Described),
    /// Nothing.
    Empty(u16),
    /// What a model says, whole or as events.
    Model,
    /// Text of another kind.
    Text(&'static str),
}

impl Described {
    const fn of<T: ToSchema>() -> Self {
        Self::Type(<T as ToSchema>::name, describe::<T>)
    }

    /// The name by which the document refers to it.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Type(name, _) => name(),
            Self::Named(name) => name.into(),
        }
    }
}

/// Adds a type's schema, and those that it refers to.
pub fn describe<T: ToSchema>(found: &mut Vec<(String, RefOr<Schema>)>) {
    found.push((<T as ToSchema>::name().into_owned(), <T as PartialSchema>::schema()));
    <T as ToSchema>::schemas(found);
}

/// What handles a route, and who may ask it.
pub struct Served {
    pub access: Access,
    pub mount: fn() -> actix_web::Route,
}

/// Names the handler of a route, and who may ask it. Where that is not anybody, the handler's first argument must
/// prove it, or this does not compile.
macro_rules! at {
    (Anybody, $handler:expr) => {
        Served { access: Access::Anybody, mount: || actix_web::web::route().to($handler) }
    };
    // Asks for the credential itself, in an order of its own.
    (by_itself $access:ident, $handler:expr) => {
        Served { access: Access::$access, mount: || actix_web::web::route().to($handler) }
    };
    // The same, with the request in its own hands.
    (service $access:ident, $service:expr) => {
        Served {
            access: Access::$access,
            mount: || actix_web::web::route().service(actix_service::fn_service($service)),
        }
    };
    ($access:ident, $handler:expr) => {
        Served { access: proved(&$handler, Access::$access), mount: || actix_web::web::route().to($handler) }
    };
}
pub(in crate::http) use at;

/// What proves who asks, as the first argument of a handler.
pub trait Proof {
    /// Who that is.
    const ACCESS: Access;
}

macro_rules! first_argument {
    ($first:ident $($more:ident)*) => {
        impl<$first: Proof, $($more),*> Proof for ($first, $($more,)*) {
            const ACCESS: Access = $first::ACCESS;
        }
    };
}
first_argument!(A);
first_argument!(A B);
first_argument!(A B C);
first_argument!(A B C D);

/// The access that a handler proves, held against what its row says.
pub const fn proved<F, Args>(_: &F, says: Access) -> Access
where
    F: Handler<Args>,
    Args: FromRequest + Proof + 'static,
{
    assert!(Args::ACCESS as u8 == says as u8, "the handler lets somebody else in than its row says");
    says
}

pub const fn get(path: &'static str, served: Served, says: &'static str) -> Route {
    route("get", path, served, says)
}

pub const fn post(path: &'static str, served: Served, says: &'static str) -> Route {
    route("post", path, served, says)
}

pub const fn put(path: &'static str, served: Served, says: &'static str) -> Route {
    route("put", path, served, says)
}

pub const fn patch(path: &'static str, served: Served, says: &'static str) -> Route {
    route("patch", path, served, says)
}

pub const fn delete(path: &'static str, served: Served, says: &'static str) -> Route {
    route("delete", path, served, says)
}

const fn route(method: &'static str, path: &'static str, served: Served, says: &'static str) -> Route {
    let Served { access, mount } = served;
    let (body, answer) = (Body::None, Answer::Empty(204));
    Route { method, path, rest: None, access, mount, says, query: "", body, answer, errors: &[] }
}

impl Route {
    /// What varies at the end of the path may have slashes in it: `.+`, or `.*` where it may be nothing.
    pub const fn with_rest(self, pattern: &'static str) -> Self {
        Self { rest: Some(pattern), ..self }
    }

    /// Takes query parameters.
    pub const fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    /// Takes JSON.
    pub const fn json<T: ToSchema>(self) -> Self {
        Self { body: Body::Json(Described::of::<T>()), ..self }
    }

    /// Takes JSON of a schema that is written down.
    pub const fn json_named(self, name: &'static str) -> Self {
        Self { body: Body::Json(Described::Named(name)), ..self }
    }

    /// Takes JSON or nothing.
    pub const fn maybe_json<T: ToSchema>(self) -> Self {
        Self { body: Body::Maybe(Described::of::<T>()), ..self }
    }

    /// Answers with a WebSocket.
    pub const fn upgrades(self) -> Self {
        Self { answer: Answer::Empty(101), ..self }
    }

    /// Answers 200 with one.
    pub const fn one<T: ToSchema>(self) -> Self {
        Self { answer: Answer::One(200, Described::of::<T>()), ..self }
    }

    /// Answers 201 with what was made.
    pub const fn made<T: ToSchema>(self) -> Self {
        Self { answer: Answer::One(201, Described::of::<T>()), ..self }
    }

    /// Answers with a list.
    pub const fn many<T: ToSchema>(self) -> Self {
        Self { answer: Answer::Many(Described::of::<T>()), ..self }
    }

    /// Answers with a list, or with CSV.
    pub const fn rows<T: ToSchema>(self) -> Self {
        Self { answer: Answer::Rows(Described::of::<T>()), ..self }
    }

    /// Answers with text of another kind.
    pub const fn text(self, kind: &'static str) -> Self {
        Self { answer: Answer::Text(kind), ..self }
    }

    /// Takes an inference request of a schema that is written down, and answers what a model says.
    pub const fn model(self, request: &'static str) -> Self {
        let errors = &[402, 404, 409, 422, 426, 502, 504, 529];
        Self { answer: Answer::Model, errors, ..self.json_named(request) }
    }

    /// May answer these errors too.
    pub const fn errors(self, errors: &'static [u16]) -> Self {
        Self { errors, ..self }
    }
}

/// Serves the routes: each path with its methods, and 405 for the others.
pub fn mount(app: &mut ServiceConfig, routes: &'static [Route]) {
    let mut paths: Vec<&Route> = Vec::new();
    for route in routes {
        if paths.iter().all(|known| known.path != route.path) {
            paths.push(route);
        }
    }
    for first in paths {
        let here = || routes.iter().filter(|route| route.path == first.path);
        let allow = unknown::allow(here().map(|route| route.method));
        let refuse = move |request: HttpRequest| refused(request, allow.clone());
        let pattern = match (first.path.strip_suffix('}'), first.rest) {
            (Some(path), Some(rest)) => format!("{path}:{rest}}}"),
            _ => first.path.to_owned(),
        };
        let resource = web::resource(pattern).default_service(web::to(refuse));
        app.service(
            here().fold(resource, |resource, route| resource.route((route.mount)().method(method(route.method)))),
        );
    }
}

fn refused(request: HttpRequest, allow: String) -> impl Future<Output = actix_web::HttpResponse> {
    std::future::ready(unknown::wrong_method(&request, &allow))
}

fn method(name: &str) -> Method {
    match name {
        "get" => Method::GET,
        "post" => Method::POST,
        "put" => Method::PUT,
        "patch" => Method::PATCH,
        _ => Method::DELETE,
    }
}
