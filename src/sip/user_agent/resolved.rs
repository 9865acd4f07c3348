//! A trunk's names lead elsewhere: what is known of a target stays with its address.

use std::time::Instant;

use crate::ids::TrunkName;
use crate::sip::user_agent::Target;
use crate::sip::user_agent::UserAgent;
use crate::sip::user_agent::Wake;
use crate::sip::user_agent::client::Owner;
use crate::sip::user_agent::peers::TargetState;

impl UserAgent {
    /// Takes the targets that a trunk's names lead to now.
    pub(super) fn resolved(&mut self, name: &TrunkName, targets: Vec<Target>, now: Instant) {
        let trunks = &mut self.config.trunks;
        let Some(index) = trunks.iter().position(|trunk| trunk.name == *name) else { return };
        let before = trunks.get(index).map(|trunk| trunk.targets.clone()).unwrap_or_default();
        self.config.set_targets(name, targets);
        let after = self.config.trunks.get(index).map(|trunk| trunk.targets.clone()).unwrap_or_default();
        if before == after {
            return;
        }
        if let Some(peer) = self.peers.get_mut(index) {
            let known: Vec<(Target, TargetState)> = before.iter().copied().zip(peer.targets.drain(..)).collect();
            let state_of = |target: &Target| {
                let state = known.iter().find(|(before, _)| before.address == target.address).map(|(_, state)| state);
                TargetState { probe: None, ..state.cloned().unwrap_or_default() }
            };
            peer.targets = after.iter().map(state_of).collect();
        }
        self.renumber_probes(index, before.len(), now);
        // Lines that found no target at the start need not wait for their next try.
        if before.is_empty() && self.draining.is_none() {
            self.start_lines_of(index, now);
        }
    }

    /// What is asked or planned by a target's number names another target now.
    fn renumber_probes(&mut self, trunk: usize, before: usize, now: Instant) {
        for target in 0..before {
            self.schedule.set(&Wake::Probe(trunk, target), None);
        }
        for entry in self.clients.values_mut() {
            if matches!(entry.owner, Owner::Probe(of, _) if of == trunk) {
                entry.owner = Owner::Nobody;
            }
        }
        self.start_probes_of(trunk, now);
    }
}
