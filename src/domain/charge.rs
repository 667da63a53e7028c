//! A charge: all that the books must know of one metered request.

use super::endpoint::Endpoint;
use super::ids::{AccountId, PriceId, ProviderId, RequestId};
use super::keys::KeyId;
use super::money::MicroUsd;
use super::settle::FeeBps;
use super::time::Timestamp;
use super::usage::{Metered, MeteredBy, Outcome, Usage};

/// One request, for its settlement, its usage row and its log line.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The request, and the usage row's key.
    pub request_id: RequestId,
    /// Who pays.
    pub account_id: AccountId,
    /// With which key.
    pub key_id: KeyId,
    /// The key has a spend limit.
    pub key_is_limited: bool,
    /// Who served.
    pub provider_id: ProviderId,
    /// Who earns.
    pub provider_account_id: AccountId,
    /// The price version captured when the request was admitted.
    pub price_id: PriceId,
    /// The public name of the model.
    pub model: String,
    /// Where it was sent.
    pub endpoint: Endpoint,
    /// The provider speaks chat alone: the request and its answer were translated.
    pub translated: bool,
    /// The payer's own provider served it, and that is free: whatever was used, it costs nothing.
    pub own_use: bool,
    /// The house's part of the charge.
    pub fee: FeeBps,
    /// The tokens, clamped to the request's bounds.
    pub usage: Usage,
    /// What they cost at that price.
    pub cost: MicroUsd,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose count it is.
    pub metered_by: MeteredBy,
    /// The provider reported more than the request could have used.
    pub flagged: bool,
    /// The hashes of the client's idempotency key and of its request: with them it is charged once.
    pub idempotency: Option<([u8; 32], [u8; 32])>,
    /// When it ended.
    pub now: Timestamp,
}

impl Charge {
    /// The charge of a request that has ended: what was used is known now. What a provider's error left is not
    /// charged, and may be sent again under the same idempotency key.
    #[must_use]
    pub fn ended(self, metered: Metered, cost: MicroUsd, outcome: Outcome, now: Timestamp) -> Self {
        let is_owed = outcome != Outcome::ProviderError;
        Self {
            usage: metered.usage,
            metered_by: metered.metered_by,
            flagged: metered.flagged,
            cost: if is_owed && !self.own_use { cost } else { MicroUsd::ZERO },
            idempotency: self.idempotency.filter(|_| is_owed),
            outcome,
            now,
            ..self
        }
    }
}
