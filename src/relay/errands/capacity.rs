//! How busy the servers of each model are, for those who choose where to send their requests.

use std::time::{Duration, Instant};

use crate::domain::ids::ProviderId;
use crate::relay::Relay;
use crate::store::providers::ModelPlaces;
use crate::upstream::ProviderStatus;

/// How busy the servers of one model are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The public name.
    pub model: String,
    /// How many requests its servers take at once, of all their models; none if one of them has no limit.
    pub places: Option<u32>,
    /// How many run at these servers now.
    pub running: u32,
    /// How many requests for it wait for a place.
    pub waiting: u32,
    /// The median of the last times until the first byte at these servers, in milliseconds, if there were any.
    pub first_byte_ms: Option<u64>,
}

impl Relay {
    /// How a provider does, and who waits for it.
    pub fn health(&self, provider: ProviderId) -> ProviderStatus {
        let now = Instant::now();
        let (waiting, first) = self.queue.waiting_at(provider);
        ProviderStatus {
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            longest_wait: first.map(|since| now.saturating_duration_since(since)),
            ..self.providers.health(provider, now)
        }
    }

    /// How many requests wait for a place, and how long the first of them has.
    pub fn waiting(&self) -> (u32, Option<Duration>) {
        let (waiting, first) = self.queue.all_waiting();
        (u32::try_from(waiting).unwrap_or(u32::MAX), first.map(|since| since.elapsed()))
    }

    /// By model, in the order of `places`.
    pub fn capacity(&self, places: &[ModelPlaces]) -> Vec<Capacity> {
        let now = Instant::now();
        let of_model = |of: &[ModelPlaces]| {
            let model = of.first().map(|place| place.model.clone()).unwrap_or_default();
            let known = of.iter().map(|place| self.providers.places(place.provider, place.max_concurrent));
            let running = of.iter().map(|place| self.providers.health(place.provider, now).in_flight).sum();
            let mut times: Vec<u32> =
                of.iter().flat_map(|place| self.providers.last_first_bytes(place.provider)).collect();
            times.sort_unstable();
            Capacity {
                places: known.sum(),
                running,
                waiting: u32::try_from(self.queue.waiting_for(&model)).unwrap_or(u32::MAX),
                first_byte_ms: times.get(times.len() / 2).map(|millis| u64::from(*millis)),
                model,
            }
        };
        places.chunk_by(|a, b| a.model == b.model).map(of_model).collect()
    }
}
