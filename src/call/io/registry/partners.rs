//! Calls that are, or are to be, joined: the way between them, and those that are made for it.

use std::sync::Arc;

use super::Registry;
use crate::call::AgentParty;
use crate::call::Call;
use crate::call::Cause;
use crate::call::Destination;
use crate::call::Input;
use crate::call::Partner;
use crate::call::PartnerWord;
use crate::call::admission;
use crate::call::call::Ground;
use crate::call::io::rooms::Ask;
use crate::call::io::rooms::Asked;
use crate::call::io::trace;
use crate::ids::CallId;

impl Registry {
    /// A call asks for something that is not in its own hands.
    pub(super) fn asked_by_call(&mut self, Asked { from, ask }: Asked) {
        match ask {
            Ask::Tell { to, word } => self.tell_partner(from, to, word),
            Ask::Launch { destination, agent } => self.launch(from, destination, *agent),
        }
    }

    /// `to` hears `word` of `from`, which may be no more.
    fn tell_from(&mut self, from: CallId, to: CallId, word: PartnerWord) {
        let worker = self.calls.get(&from).map_or(0, |entry| entry.worker);
        self.tell(to, Input::Partner { from: Partner { call: from, worker }, word });
    }

    /// Passes a word on. A call that is no more is said to be gone.
    fn tell_partner(&mut self, from: CallId, to: CallId, word: PartnerWord) {
        if let Some(standing) = self.calls.get(&to).map(|entry| entry.standing.borrow().clone()) {
            if word == PartnerWord::Joined {
                self.note_idle(standing);
            }
            self.tell_from(from, to, word);
        } else if !matches!(word, PartnerWord::Gone(_)) {
            self.tell_from(to, from, PartnerWord::Gone(Cause::PeerLost));
        }
    }

    /// Begins a call that is joined to `from` when it is answered, on the same worker.
    fn launch(&mut self, from: CallId, destination: Destination, agent: AgentParty) {
        let Some(worker) = self.calls.get(&from).map(|entry| entry.worker) else { return };
        let admitted = admission::admit_to_node(self.load(&agent.extension), &self.config);
        let policy = self.config.trunks.get(&destination.trunk).cloned().ok_or(Cause::UnknownExtension);
        let trunk = match admitted.and(policy) {
            Ok(policy) => policy,
            Err(cause) => return self.tell_from(from, from, PartnerWord::Gone(cause)),
        };
        let ids = self.new_ids(None, None);
        trace::launched(&*self.rooms, ids, from, self.clock.now());
        let config = Arc::clone(&self.config);
        let ground = Ground { ids, agent, trunk, config, clock: self.clock, emergency: None };
        let name = destination.trunk.clone();
        let call = Call::launched(ground, destination, Partner { call: from, worker }, self.clock.now());
        self.begin(call, ids, name, worker);
        self.tell_from(ids.call, from, PartnerWord::Launched);
    }

    /// A call's task is dead: whoever is, or is to be, joined to it is told.
    pub(super) fn widow(&mut self, dead: CallId) {
        let partners: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, entry)| entry.standing.borrow().partner == Some(dead))
            .map(|(call, _)| *call)
            .collect();
        for call in partners {
            self.tell_from(dead, call, PartnerWord::Gone(Cause::Overloaded));
        }
    }
}
