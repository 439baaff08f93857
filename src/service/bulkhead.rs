//! A bulkhead: how much may be under way, and for whom.

use serde::{Deserialize, Serialize};

use crate::data::Map;

/// Whose call it is: one of those who share a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tenant(pub u32);

/// Who has how many calls under way (Nygard, *Release It!*, 2007). Each tenant has a share of its own, so
/// that one that is slow, or many, sinks alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bulkhead {
    held: Map<Tenant, u32>,
}

impl Bulkhead {
    /// Takes a place of the tenant's `share`, if one is free. It is given back by [`Bulkhead::release`],
    /// once, however the call ends.
    pub fn admit(&mut self, tenant: Tenant, share: u32) -> bool {
        let held = self.held(tenant);
        if held >= share {
            return false;
        }
        self.held.insert(tenant, held + 1);
        true
    }

    /// Gives a place back.
    pub fn release(&mut self, tenant: Tenant) {
        match self.held(tenant).saturating_sub(1) {
            0 => {
                self.held.remove(&tenant);
            }
            held => {
                self.held.insert(tenant, held);
            }
        }
    }

    /// How many the tenant has.
    pub fn held(&self, tenant: Tenant) -> u32 {
        self.held.get(&tenant).copied().unwrap_or(0)
    }

    /// How many all have together.
    pub fn total(&self) -> u32 {
        self.held.values().sum()
    }
}
