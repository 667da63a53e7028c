//! `serve --demo`: an account, a key and a built-in provider, so that the main job runs in one command.

use crate::demo::{self, Imitate};
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{PlainKey, Scopes};
use crate::domain::money::MicroUsd;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::providers::{self, NewProvider};
use crate::store::{Store, StoreError, Tx, accounts, ledger, prices};

use super::{ACTOR, Failed, keys};

/// The account that pays.
const ACCOUNT: &str = "demo";
/// The account that earns.
const PROVIDER_ACCOUNT: &str = "demo-provider";
/// The built-in provider.
const PROVIDER: &str = "demo";
/// What a new demo account has: $5.00.
const CREDIT: MicroUsd = MicroUsd::new(5_000_000);

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    key: PlainKey,
    model: String,
    handle: crate::http::ServerHandle,
}

/// Starts the built-in provider and makes what is missing for it in the database.
pub fn start(store: &Store, imitate: Imitate) -> Result<Demo, Failed> {
    let models: Vec<String> = store.read_inline(prices::list)?.into_iter().map(|price| price.model).collect();
    let model = models.get(1).or(models.first()).cloned().unwrap_or_default();
    // Its own random key: a client's credential would be refused there.
    let secret = PlainKey::generate().map_err(|e| Failed::Other(e.to_string()))?;
    let api_key = Secret::new(secret.expose().to_owned());
    let (address, server) = demo::start(models.clone(), imitate, Some(api_key.clone()))?;
    let handle = server.handle();
    crate::http::spawn(server);
    store.write_exclusive(|conn| prepare(conn, &format!("http://{address}/v1"), api_key, &models))?;
    let (key, _) =
        keys::mint(store, ACCOUNT, "demo".into(), Scopes { manage: true, ..Scopes::INFERENCE }, KeyLimits::default())?;
    Ok(Demo { key, model, handle })
}

fn prepare(conn: &Tx, url: &str, api_key: Secret, models: &[String]) -> Result<(), StoreError> {
    let now = Timestamp::now();
    if is_missing(accounts::find(conn, ACCOUNT))? {
        let account = accounts::create(conn, ACCOUNT, None, ACTOR, now)?;
        ledger::credit(conn, account.id, CREDIT, "demo credit", ACTOR, now)?;
    }
    if is_missing(accounts::find(conn, PROVIDER_ACCOUNT))? {
        accounts::create(conn, PROVIDER_ACCOUNT, None, ACTOR, now)?;
    }
    let models: Vec<_> = models.iter().map(|model| (model.clone(), model.clone())).collect();
    let found = providers::find(conn, PROVIDER);
    if let Ok(provider) = found {
        // Its port is another one at every start.
        return providers::move_to(conn, provider.id, url, &api_key, &models);
    }
    is_missing(found)?;
    let account_id = accounts::find(conn, PROVIDER_ACCOUNT)?.id;
    let new = NewProvider {
        name: PROVIDER.into(),
        account_id,
        url: url.into(),
        api_key: Some(api_key),
        max_concurrent: None,
        ca_pem: None,
        allow: crate::dialect::request::hosted::Allow::default(),
        manners: Default::default(),
        models,
    };
    providers::create(conn, &new, ACTOR, now).map(drop)
}

fn is_missing<T>(found: Result<T, StoreError>) -> Result<bool, StoreError> {
    match found {
        Ok(_) => Ok(false),
        Err(StoreError::NotFound(_)) => Ok(true),
        Err(e) => Err(e),
    }
}

impl Demo {
    /// The key, in plain text.
    pub fn key(&self) -> &str {
        self.key.expose()
    }

    /// What to paste.
    pub fn welcome(&self, base_url: &str) -> String {
        format!(
            "base URL  {base_url}\nkey       {key}\n\nTry it in a browser:\n\n  {page}/#key={key}\n\nor:\n\n  curl -i {base_url}/chat/completions -H 'Authorization: Bearer {key}' \
             -H 'Content-Type: application/json' -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'\n",
            key = self.key.expose(),
            model = self.model,
            page = base_url.trim_end_matches("/v1"),
        )
    }

    /// Stops the provider.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}
