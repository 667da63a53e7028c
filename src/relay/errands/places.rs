//! Asking a server how many requests it takes at once.

use std::time::Duration;

use crate::upstream::{Client, LONGEST_PLACES, PLACES_WAYS, Target};

/// How long an answer may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests a server takes at once, if it says so.
pub async fn places(client: &Client, target: &Target) -> Option<u32> {
    for way in PLACES_WAYS {
        let said = client.look_at(target, way.path, LONGEST_PLACES, PATIENCE).await;
        if let Some(places) = said.as_deref().and_then(|said| way.places_in(said)) {
            return Some(places);
        }
    }
    None
}
