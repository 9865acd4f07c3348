//! Packets between joined calls.

use std::time::Instant;

use super::Turn;
use crate::ids::CallId;
use crate::media::vocabulary::ToPeer;
use crate::worker::io::partners::Crossing;
use crate::worker::session::Input;

/// Packets of partners taken at once; more wait for the next turn, so that the sockets are served.
const CROSSINGS_PER_TURN: usize = 256;

impl Turn {
    /// Puts a packet into the queue of its worker, be it this one: a session never works within another's turn.
    pub(super) fn cross(&mut self, from: CallId, to: CallId, worker: usize, packet: &ToPeer) {
        if !self.partners.send(worker, Crossing { from, to, packet: *packet }) {
            self.uncrossed += 1;
        }
    }

    /// Hands over what partners sent. Whether more may be waiting.
    pub(in crate::worker::io) fn take_crossings(&mut self, now: Instant) -> bool {
        for _ in 0..CROSSINGS_PER_TURN {
            let Some(Crossing { from, to, packet }) = self.partners.receive() else { return false };
            if self.sessions.get(&to).is_some_and(|slot| slot.session.is_joined_to(from)) {
                let input = Input::FromPartner { partner: from, packet: &packet };
                self.with_session(to, now, |session| session.handle(input, now));
            } else {
                self.uncrossed += 1;
            }
        }
        true
    }
}
