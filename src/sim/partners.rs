//! What joined calls tell each other, passed on as the registry does.

use std::net::SocketAddr;

use crate::call::Call;
use crate::call::CallRecord;
use crate::call::Cause;
use crate::call::Input;
use crate::call::Partner;
use crate::call::PartnerWord;
use crate::sim::script::CallScript;
use crate::sim::seat::Seat;
use crate::sim::site::GATEWAY;
use crate::sim::world::World;

/// Calls of one world, those that transfers make included.
const SEATS_MAX: usize = 8;

impl World {
    /// Whoever still talks hangs up: the agents, and of calls that have none the parties. Where these have vanished,
    /// or are the second phone of a number, an operator does.
    pub(super) fn hang_up_everywhere(&mut self) {
        let now = self.now;
        for page in self.seats.iter_mut().flat_map(|seat| &mut seat.browsers) {
            page.hang_up(now);
        }
        let joined = |seat: &Seat| seat.call.as_ref().is_some_and(|call| call.standing().partner.is_some());
        for number in 0..self.seats.len() {
            let Some(seat) = self.seats.get_mut(number).filter(|seat| joined(seat)) else { continue };
            seat.peers.iter_mut().for_each(|peer| peer.hang_up(now));
            if seat.peers.iter().any(|peer| peer.vanishes() || peer.second_phone_talks()) {
                self.tell(number, Input::Shutdown);
            }
        }
    }

    /// As the registry begins a call that another one wants.
    fn launch_calls(&mut self, number: usize) {
        let wanted = self.seats.get_mut(number).map(|seat| (seat.ids.call, std::mem::take(&mut seat.launches)));
        let Some((by, launches)) = wanted else { return };
        for (destination, agent) in launches {
            let place = self.seats.len();
            if place >= SEATS_MAX {
                let from = Partner { call: by, worker: 0 };
                self.tell(number, Input::Partner { from, word: PartnerWord::Gone(Cause::Overloaded) });
                continue;
            }
            let script = CallScript::draw(&mut self.rng);
            let mut seat = Seat::launched(place, script, (self.start, SocketAddr::from(GATEWAY)), &mut self.rng);
            let ground = seat.ground(agent, seat.ids.agent_leg, &self.config, self.clock);
            let partner = Partner { call: by, worker: 0 };
            seat.call = Some(Call::launched(ground, destination, partner, self.now));
            let from = Partner { call: seat.ids.call, worker: 0 };
            self.seats.push(seat);
            self.carry_out(place);
            self.tell(number, Input::Partner { from, word: PartnerWord::Launched });
        }
    }

    pub(super) fn pass_partner_words(&mut self, number: usize) {
        self.launch_calls(number);
        let words = self.seats.get_mut(number).map(|seat| (seat.ids.call, std::mem::take(&mut seat.partner_words)));
        let Some((from, words)) = words else { return };
        for (to, word) in words {
            let other = self.seats.iter().position(|seat| seat.ids.call == to && seat.call.is_some());
            match other {
                Some(other) => self.tell(other, Input::Partner { from: Partner { call: from, worker: 0 }, word }),
                None if matches!(word, PartnerWord::Gone(_)) => {}
                None => {
                    let from = Partner { call: to, worker: 0 };
                    self.tell(number, Input::Partner { from, word: PartnerWord::Gone(Cause::PeerLost) });
                }
            }
        }
    }

    /// What is kept of a call, and of the other one where each says that it was joined to the other.
    fn joined_records(&self) -> impl Iterator<Item = (&CallRecord, &CallRecord)> {
        let records = || self.seats.iter().filter_map(|seat| seat.record.as_ref());
        records().filter_map(move |record| {
            let joined =
                |other: &&CallRecord| record.joined_with == Some(other.call) && other.joined_with == Some(record.call);
            Some((record, records().find(joined)?))
        })
    }

    /// Calls that were joined to another one.
    pub(super) fn joined_calls(&self) -> usize {
        self.joined_records().count()
    }

    /// Calls that were joined end in the same moment, whichever of the two parties ended theirs.
    pub(super) fn faults_of_partners(&self) -> Vec<String> {
        let outlived = self.joined_records().filter(|(record, partner)| record.ended > partner.ended);
        outlived.map(|(record, _)| format!("call {} outlived the one that it was joined to", record.call)).collect()
    }
}
