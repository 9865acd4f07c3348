//! Pages that are reloaded: the same agent's next session, as the registry hands the call over to it.

use crate::call::Call;
use crate::call::Input;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::sim::browser::Browser;
use crate::sim::browser::Word;
use crate::sim::world::World;

impl World {
    /// A page that was reloaded asks about a call that it knows nothing of: its session refuses that.
    pub(super) fn has_forgotten(&self, number: usize, page: usize, word: &Word) -> bool {
        let page = self.seats.get(number).and_then(|seat| seat.browsers.get(page));
        matches!(word, Word::Request(..)) && page.is_some_and(Browser::has_forgotten)
    }

    /// The call of the page's former session goes on at the new one. An answered call does not end by it.
    pub(super) fn reloaded(&mut self, number: usize, page: usize, from: SignalingId) {
        let now = self.now;
        let leg = LegId::generate(1, &mut self.rng);
        let Some(seat) = self.seats.get_mut(number) else { return };
        let session = seat.session(page);
        let is_up = |call: &Call| call.standing().is_answered && !call.is_ending();
        let was_up = seat.call.as_ref().is_some_and(is_up);
        if let Some(page) = seat.browsers.get_mut(page).filter(|_| was_up) {
            page.lost_call(now);
        }
        self.tell(number, Input::Reattached { from, session, leg });
        let Some(seat) = self.seats.get_mut(number).filter(|_| was_up) else { return };
        if !seat.call.as_ref().is_some_and(is_up) {
            seat.faults.push("a reload ended the call".to_owned());
        }
    }
}
