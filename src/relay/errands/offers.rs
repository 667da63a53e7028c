//! Who serves the models for which somebody waits: when that changes, those who wait look again where they can go.
//! A newcomer would see it at once, and would pass them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::dialect::request::Endpoint;
use crate::relay::Relay;
use crate::store::{StoreError, providers};
use crate::upstream::Server;

/// How often it is looked. An operator who adds a server can wait for so long.
const EVERY: Duration = Duration::from_millis(200);
/// How long those who wait take to look again, all of them: only then are places handed out, to whose turn it is.
const ALL_LOOK: Duration = Duration::from_millis(50);

/// Who serves a model, as it was at the last look.
type Known = HashMap<Arc<str>, Vec<Server>>;

/// Runs for ever; ends when it is dropped. Does nothing while nobody waits.
pub async fn follow_offers(relay: Arc<Relay>) {
    let mut known = Known::new();
    loop {
        relay.queue.somebody_waits().await;
        relay.look_who_serves(&mut known);
        tokio::time::sleep(ALL_LOOK).await;
        known.values().flatten().for_each(|server| relay.queue.hand_out(server.provider));
        tokio::time::sleep(EVERY).await;
    }
}

impl Relay {
    fn look_who_serves(&self, known: &mut Known) {
        let models = self.queue.models();
        known.retain(|model, _| models.contains(model));
        for model in models {
            // The next look may tell more.
            let Ok(servers) = self.serving(&model) else { continue };
            // Of a model that nobody waited for they came before this look.
            if known.get(&model) != Some(&servers) {
                self.queue.look_again(&model);
                known.insert(model, servers);
            }
        }
    }

    fn serving(&self, model: &str) -> Result<Vec<Server>, StoreError> {
        // Any endpoint: what a provider refuses is not asked here.
        let offers = self.store.read_inline(|conn| providers::offers(conn, model, Endpoint::ChatCompletions, false))?;
        let server = |of: &providers::Offer| (of.provider.id, of.provider.max_concurrent);
        let mut servers: Vec<_> = offers.iter().map(server).collect();
        servers.sort_unstable();
        Ok(servers.into_iter().map(|(provider, max_concurrent)| Server { provider, max_concurrent }).collect())
    }
}
