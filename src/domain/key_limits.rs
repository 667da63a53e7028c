//! What a key may spend, and how fast.

use super::keys::LimitReset;
use super::money::MicroUsd;
use super::time::Timestamp;

/// What a key may do and spend.
#[derive(Debug, Clone, Default)]
pub struct KeyLimits {
    /// The most it may be charged in a window.
    pub spend: Option<MicroUsd>,
    /// How long a window is.
    pub reset: LimitReset,
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Requests at once.
    pub max_concurrent: Option<u32>,
    /// The models it may use; `None` means all.
    pub allowed_models: Option<Vec<String>>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// How many machines may join with it; `None`: any number.
    pub max_machines: Option<u32>,
    /// A new machine gets no requests until an admin enables it.
    pub holds_machines: bool,
}

/// What a key was charged since the beginning of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpendWindow {
    /// When it began; an older window than the one now counts as nothing spent.
    pub started_at: Timestamp,
    /// Charged since.
    pub spent: MicroUsd,
}

impl SpendWindow {
    /// Charged in the window that began at `began`: an older one is over.
    pub fn since(self, began: Timestamp) -> MicroUsd {
        if self.started_at >= began { self.spent } else { MicroUsd::ZERO }
    }

    /// The window with a charge added, in the one that began at `began`: an older one begins anew. `None` on overflow.
    pub fn charge(self, amount: MicroUsd, began: Timestamp) -> Option<Self> {
        Some(Self { started_at: self.started_at.max(began), spent: self.since(began).checked_add(amount)? })
    }
}
