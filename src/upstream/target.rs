//! Where a request can be sent.

use std::sync::Arc;

use crate::dialect::request::hosted::Allow;
use crate::dialect::request::output_fields::OutputFields;
use crate::domain::ids::ProviderId;
use crate::domain::provider::Manners;
use crate::domain::secret::Secret;

/// A provider, and how many requests it takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Who.
    pub provider: ProviderId,
    /// The most requests at once, as far as that is set.
    pub max_concurrent: Option<u32>,
}

/// Where a request can be sent.
#[derive(Debug, Clone)]
pub struct Target {
    /// Who.
    pub provider: ProviderId,
    /// Its name, for the log.
    pub name: String,
    /// It is a machine that joined: what is sent goes on its own connection.
    pub joined: bool,
    /// Base URL, ends in `/v1`.
    pub url: String,
    /// What it asks for.
    pub api_key: Option<Secret>,
    /// What it calls the model.
    pub upstream_model: String,
    /// The most requests at once.
    pub max_concurrent: Option<u32>,
    /// The certificates of a private authority that is trusted for it, PEM.
    pub ca_pem: Option<Arc<str>>,
    /// What it may be asked to do beside generating.
    pub allow: Allow,
    /// Where it takes the output bound, as far as that is known.
    pub takes: OutputFields,
    /// The request goes to its chat, translated.
    pub translated: bool,
    /// How it is spoken to.
    pub manners: Manners,
}

impl Target {
    /// Who it is, without what is sent there.
    pub const fn server(&self) -> Server {
        Server { provider: self.provider, max_concurrent: self.max_concurrent }
    }

    /// The same server's chat, which takes the output bound so, for a request that is translated.
    #[must_use]
    pub fn in_chat(self, takes: OutputFields) -> Self {
        Self { takes, translated: true, ..self }
    }
}

#[cfg(test)]
impl Target {
    /// A target that is nowhere, for tests of whom to ask.
    pub fn nowhere(provider: i64, max_concurrent: Option<u32>) -> Self {
        Self {
            provider: ProviderId::from_i64(provider),
            name: provider.to_string(),
            joined: false,
            url: String::new(),
            api_key: None,
            upstream_model: String::new(),
            max_concurrent,
            ca_pem: None,
            allow: Allow::default(),
            takes: OutputFields::default(),
            translated: false,
            manners: Manners::default(),
        }
    }
}
