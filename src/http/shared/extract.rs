//! Extractors that prove who asks, and bring what was sent. In this order, whatever a handler lists: who asks, the ids
//! in the path, and only then the body: nothing is read from who may not ask.

use std::future::Future;
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::web::{self, Bytes, Data, Path};
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use crate::auth::Admin;
use crate::domain::ids::{AccountId, AdminId, ProviderId};
use crate::domain::keys::KeyId;
use crate::http::shared::auth::{self, Need};
use crate::http::shared::body;
use crate::http::shared::error::ApiError;
use crate::http::shared::route::{Access, Proof};
use crate::http::state::AppState;
use crate::relay::Caller;

/// Any key of an account will do.
#[derive(Debug, Clone, Copy)]
pub struct AnyScope;
/// A key that may run models.
#[derive(Debug, Clone, Copy)]
pub struct Inference;
/// A key that may make and change keys, and withdraw.
#[derive(Debug, Clone, Copy)]
pub struct Manage;

/// A key that machines may join with.
#[derive(Debug, Clone, Copy)]
pub struct Provide;

/// What a key must be allowed to do, as a type.
pub trait Scope: 'static {
    /// The same as a value.
    const NEED: Need;
    /// The same in a route's row.
    const ACCESS: Access;
}

impl Scope for AnyScope {
    const NEED: Need = Need::Any;
    const ACCESS: Access = Access::Key;
}

impl Scope for Inference {
    const NEED: Need = Need::Inference;
    const ACCESS: Access = Access::Inference;
}

impl Scope for Manage {
    const NEED: Need = Need::Manage;
    const ACCESS: Access = Access::Manage;
}

impl Scope for Provide {
    const NEED: Need = Need::Provide;
    const ACCESS: Access = Access::Provide;
}

/// An account, by a key of the scope.
#[derive(Debug)]
pub struct ByKey<S> {
    /// Who asks.
    pub caller: Caller,
    scope: PhantomData<S>,
}

/// Who asks, as the request's credentials say.
pub trait Who: Proof + Sized + 'static {
    /// Reads the credentials.
    fn asks(state: &AppState, request: &HttpRequest) -> impl Future<Output = Result<Self, ApiError>>;
}

impl Proof for Admin {
    const ACCESS: Access = Access::Admin;
}

impl Who for Admin {
    async fn asks(state: &AppState, request: &HttpRequest) -> Result<Self, ApiError> {
        auth::admin(state, request).await
    }
}

impl<S: Scope> Proof for ByKey<S> {
    const ACCESS: Access = S::ACCESS;
}

impl<S: Scope> Who for ByKey<S> {
    async fn asks(state: &AppState, request: &HttpRequest) -> Result<Self, ApiError> {
        let caller = auth::caller(state, request, S::NEED).await?;
        Ok(Self { caller, scope: PhantomData })
    }
}

/// What a path names.
pub trait FromPath: Sized + 'static {
    /// What varies in it, as text.
    type Text: DeserializeOwned + 'static;
    /// Reads the text.
    ///
    /// # Errors
    /// 404: what cannot be an id names nothing.
    fn read(text: Self::Text) -> Result<Self, ApiError>;
}

impl FromPath for () {
    type Text = ();
    fn read((): ()) -> Result<Self, ApiError> {
        Ok(())
    }
}

impl FromPath for String {
    type Text = Self;
    fn read(text: Self) -> Result<Self, ApiError> {
        Ok(text)
    }
}

impl FromPath for AccountId {
    type Text = String;
    fn read(text: String) -> Result<Self, ApiError> {
        Self::parse(&text).ok_or_else(|| ApiError::not_found(format!("no account {text}")))
    }
}

impl FromPath for AdminId {
    type Text = String;
    fn read(text: String) -> Result<Self, ApiError> {
        Self::parse(&text).ok_or_else(|| ApiError::not_found(format!("no admin {text}")))
    }
}

impl FromPath for ProviderId {
    type Text = String;
    fn read(text: String) -> Result<Self, ApiError> {
        Self::parse(&text).ok_or_else(|| ApiError::not_found(format!("no provider {text}")))
    }
}

impl FromPath for KeyId {
    type Text = String;
    fn read(text: String) -> Result<Self, ApiError> {
        Self::parse(&text).ok_or_else(|| ApiError::not_found("there is no such key"))
    }
}

impl<A: FromPath<Text = String>, B: FromPath<Text = String>> FromPath for (A, B) {
    type Text = (String, String);
    fn read((a, b): (String, String)) -> Result<Self, ApiError> {
        Ok((A::read(a)?, B::read(b)?))
    }
}

/// What a body says.
pub trait FromBody: Sized + 'static {
    /// Reads it.
    fn read(bytes: &[u8]) -> Result<Self, ApiError>;
}

impl<T: DeserializeOwned + 'static> FromBody for T {
    fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        body::parse(bytes)
    }
}

/// A body that may be left out.
#[derive(Debug)]
pub struct Maybe<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromBody for Maybe<T> {
    fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        if bytes.is_empty() { Ok(Self(T::default())) } else { body::parse(bytes).map(Self) }
    }
}

/// A body that the handler reads itself.
#[derive(Debug)]
pub struct Unread;

impl FromBody for Unread {
    fn read(_: &[u8]) -> Result<Self, ApiError> {
        Ok(Self)
    }
}

/// Who asks, and what the path names.
#[derive(Debug)]
pub struct At<W, I> {
    /// Who asks.
    pub by: W,
    /// What the path names.
    pub id: I,
}

/// Who asks, what the path names, and what was sent.
#[derive(Debug)]
pub struct Sent<W, T, I = ()> {
    /// Who asks.
    pub by: W,
    /// What the path names.
    pub id: I,
    /// The body as it came: what makes two money writes the same.
    pub bytes: Bytes,
    /// What it says.
    pub body: T,
}

/// What an admin sent.
pub type AdminBody<T, I = ()> = Sent<Admin, T, I>;
/// What an account sent, by a key of the scope.
pub type CallerBody<S, T, I = ()> = Sent<ByKey<S>, T, I>;

impl<W: Who, I> Proof for At<W, I> {
    const ACCESS: Access = W::ACCESS;
}

impl<W: Who, T, I> Proof for Sent<W, T, I> {
    const ACCESS: Access = W::ACCESS;
}

async fn at<W: Who, I: FromPath>(request: &HttpRequest) -> Result<At<W, I>, ApiError> {
    let by = W::asks(state(request)?, request).await?;
    let text = Path::<I::Text>::extract(request).await;
    let id = I::read(text.map_err(|e| ApiError::not_found(e.to_string()))?.into_inner())?;
    Ok(At { by, id })
}

fn state(request: &HttpRequest) -> Result<&AppState, ApiError> {
    request.app_data::<Data<AppState>>().map(|state| &***state).ok_or_else(ApiError::internal)
}

macro_rules! asks_first {
    ($($by:ty $(, $scope:ident)?);*) => {$(
        impl$(<$scope: Scope>)? FromRequest for $by {
            type Error = ApiError;
            type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let request = request.clone();
                Box::pin(async move { Self::asks(state(&request)?, &request).await })
            }
        }
    )*};
}
asks_first!(Admin; ByKey<S>, S);

impl<W: Who, I: FromPath> FromRequest for At<W, I> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { at(&request).await })
    }
}

impl<W: Who, T: FromBody, I: FromPath> FromRequest for Sent<W, T, I> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
        Box::pin(async move {
            let At { by, id } = at(&request).await?;
            let payload = payload.await.map_err(|_| ApiError::internal())?;
            let bytes = body::read(state(&request)?, &request, payload).await?;
            let body = T::read(&bytes)?;
            Ok(Self { by, id, bytes, body })
        })
    }
}
