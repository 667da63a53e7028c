//! The schemas of the domain's types.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{OneOfBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::ids::{
    AccountId, AdminId, AlertId, InviteId, LedgerId, PriceId, ProviderId, RequestId, WithdrawalId,
};
use crate::domain::keys::KeyId;
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::time::Timestamp;

macro_rules! schema {
    ($type:ty, $name:literal, $schema:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }
        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    };
}

fn of(kind: Type, says: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(kind)).description(Some(says))
}

fn id(prefix: &str, digits: usize) -> ObjectBuilder {
    of(Type::String, &format!("{prefix}… : rises with time where it has 13 digits"))
        .pattern(Some(format!("^{prefix}[0-9a-hjkmnp-tv-z]{{{digits}}}$")))
}

schema!(MicroUsd, "MicroUsd", {
    of(Type::Integer, "Micro-USD: 1 USD is 1,000,000. Exact; compute with this.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
});
schema!(Usd, "Usd", of(Type::Number, "USD, for people: exact, with at least two decimals."));
schema!(Timestamp, "Timestamp", {
    of(Type::String, "RFC 3339, UTC.").format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
});
schema!(AccountId, "AccountId", id(AccountId::PREFIX, 13));
schema!(AdminId, "AdminId", id(AdminId::PREFIX, 13));
schema!(InviteId, "InviteId", id(InviteId::PREFIX, 13));
schema!(LedgerId, "LedgerId", id(LedgerId::PREFIX, 13));
schema!(PriceId, "PriceId", id(PriceId::PREFIX, 13));
schema!(ProviderId, "ProviderId", id(ProviderId::PREFIX, 13));
schema!(RequestId, "RequestId", id(RequestId::PREFIX, 13));
schema!(WithdrawalId, "WithdrawalId", id(WithdrawalId::PREFIX, 13));
schema!(AlertId, "AlertId", id(AlertId::PREFIX, 13));
schema!(KeyId, "KeyId", id(KeyId::PREFIX, 12));

/// An amount in a request: text or number, read exactly.
#[derive(Debug)]
pub struct AmountUsd;

schema!(AmountUsd, "AmountUsd", {
    let text = of(Type::String, "Digits, with a dot before at most six decimals: no comma, no sign.")
        .pattern(Some(r"^[0-9]{1,12}(\.[0-9]{1,6})?$"));
    let number = of(Type::Number, "The same as a number.").minimum(Some(0));
    Schema::from(OneOfBuilder::new().item(text).item(number).description(Some("USD, like \"10.00\".")).build())
});
