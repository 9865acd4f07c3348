//! What was promised of one call and not kept, by everybody's books.

use std::time::Duration;

use crate::call::{Cause, HoldStyle};
use crate::recording::{CallDirection, Obligation};
use crate::sim::browser::Browser;
use crate::sim::peer::Peer;
use crate::sim::seat::Seat;

/// How long an agent's phone rings at least before nobody answered.
const RINGS: Duration = Duration::from_secs(30);
/// A page that was reloaded hears of its call within this time: the worst that the media plane is drawn to take.
const REATTACHES: Duration = Duration::from_secs(2);
/// How long a dialled number rings at least before nobody answered.
const RINGS_OUTSIDE: Duration = Duration::from_mins(3);

impl Seat {
    /// What was promised of this call and not kept.
    pub(super) fn broken_promises(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        if let Some(call) = &self.call {
            faults.push(format!("never ended: {}, waiting for {:?}", call.phase_name(), call.poll_timeout()));
        }
        self.faults_of_media(&mut faults);
        for page in &self.browsers {
            faults_at_page(page, &mut faults);
            self.faults_of_reload(page, &mut faults);
        }
        self.faults_among_pages(&mut faults);
        self.faults_of_hold(&mut faults);
        self.faults_of_cause(&mut faults);
        for peer in &self.peers {
            self.faults_at_peer(peer, &mut faults);
        }
        self.faults_of_record(&mut faults);
        faults
    }

    /// Its agent left it to another call's party.
    pub(super) fn is_joined(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.joined_with.is_some())
    }

    /// Who has the call.
    fn winner(&self) -> Option<&Browser> {
        self.browsers.iter().find(|page| page.book().answered > 0)
    }

    fn faults_of_media(&self, faults: &mut Vec<String>) {
        let book = self.media.book();
        if book.opened && !book.closed {
            faults.push("its media session was never closed".to_owned());
        }
        if book.crossed_unrecorded && self.obligation == Obligation::Required {
            faults.push("audio crossed before the recorder said Recording".to_owned());
        }
        if book.recordings_begun != book.recordings_ended {
            faults.push(format!("{} recordings begun, {} ended", book.recordings_begun, book.recordings_ended));
        }
        if book.recordings_begun > 0 && self.obligation == Obligation::Never {
            faults.push("recorded, though policy says never".to_owned());
        }
        if book.keys_to_agent != self.keys_told {
            faults.push(format!("{} keys came by INFO, {} reached the agent", self.keys_told, book.keys_to_agent));
        }
        if book.is_back {
            faults.push("the page was back, and is not on the line".to_owned());
        }
        faults.extend(book.strange.iter().map(|what| (*what).to_owned()));
    }

    /// One has the call; the others, who rang at that moment, heard that somebody has it.
    fn faults_among_pages(&self, faults: &mut Vec<String>) {
        let answered: u32 = self.browsers.iter().map(|page| page.book().answered).sum();
        if self.is_launched {
            return;
        }
        if answered > 1 || (answered == 1) != self.media.book().talked {
            faults.push(format!("told answered {answered} times, audio both ways: {}", self.media.book().talked));
        }
        let joined = self.browsers.iter().filter_map(|page| page.book().joined_at).min();
        let Some(joined) = joined.filter(|_| self.direction == CallDirection::Inbound) else { return };
        for page in &self.browsers {
            let book = page.book();
            let rang = book.joined_at.is_none() && book.began_at.is_some_and(|began| began <= joined);
            if !rang || page.is_gone() || book.rejected || book.ended_at.is_some_and(|ended| ended < joined) {
                continue;
            }
            let heard = book.ended.first().map_or("nothing", String::as_str);
            // They hung up in the very moment.
            if heard == "rejected" && book.ended_at == Some(joined) {
                continue;
            }
            if heard != "answered_elsewhere" || book.ended_at != Some(joined) {
                faults.push(format!("an agent who lost the race heard {heard}"));
            }
        }
    }

    /// A page that was reloaded in a call hears of it, in time.
    fn faults_of_reload(&self, page: &Browser, faults: &mut Vec<String>) {
        let book = page.book();
        let lost = book.ended_at.zip(book.lost_at).map(|(ended, lost)| ended.saturating_duration_since(lost));
        // A page may describe a transport that it was never offered, and get its call that way: once.
        if lost.is_some_and(|lost| lost > REATTACHES) && self.media.offers() {
            faults.push("a page that was reloaded never heard of its call".to_owned());
        }
    }

    /// Each heard as the last state of a hold what the media does. An agent who has left hears of no more.
    fn faults_of_hold(&self, faults: &mut Vec<String>) {
        if self.is_joined() {
            return;
        }
        let (Some(winner), book) = (self.winner().map(Browser::book), self.media.book()) else { return };
        let silent = winner.agent_holds || book.away.is_some();
        if silent != book.music {
            faults.push(format!("the page says held by the agent: {}, music: {}", winner.agent_holds, book.music));
        }
        if book.gate.to_agent == silent || !book.gate.to_trunk {
            faults.push(format!("the page says held by the agent: {}, gate: {:?}", winner.agent_holds, book.gate));
        }
        let sends = book.trunk.map(|(_, sends, _)| sends).filter(|_| self.hold_style != HoldStyle::Inactive);
        if sends.is_some_and(|sends| sends == winner.peer_holds) {
            faults.push(format!("the page says held by the PBX: {}, audio may go there: {sends:?}", winner.peer_holds));
        }
    }

    /// Why it ended, and what the caller was told, beside what happened.
    fn faults_of_cause(&self, faults: &mut Vec<String>) {
        let Some(cause) = self.outcome else { return };
        let single = self.browsers.first().map(Browser::book).filter(|_| self.browsers.len() == 1);
        if let Some(page) = single {
            if page.rejected
                && self.direction == CallDirection::Inbound
                && page.answered == 0
                && cause != Cause::Rejected
            {
                faults.push(format!("the agent rejected it, and it ended as {}", cause.word()));
            }
            let rang = page.ended_at.zip(page.began_at).map(|(ended, began)| ended.saturating_duration_since(began));
            let least = if self.direction == CallDirection::Inbound { RINGS } else { RINGS_OUTSIDE };
            if cause == Cause::NoAnswer && rang.is_some_and(|rang| rang < least) {
                faults.push(format!("nobody answered, after {rang:?}"));
            }
        }
        let was_up = self.winner().is_some();
        if was_up && cause == Cause::NotAcceptable && !self.peers.iter().any(Peer::may_answer_badly) {
            faults.push("it ended for a description, though no answer of the PBX was bad".to_owned());
        }
        let transferred = self.browsers.iter().any(|page| page.book().transferred);
        // A call that was joined to another one ends when its parties are done.
        if transferred != (cause == Cause::Transferred) && !self.is_joined() {
            faults.push(format!("the page says transferred: {transferred}, and it ended as {}", cause.word()));
        }
        let finals = self.peers.first().map(|peer| peer.book().finals.clone()).unwrap_or_default();
        if let [status] = finals.as_slice()
            && *status >= 300
            && !statuses_of(cause).contains(status)
        {
            faults.push(format!("the caller was told {status} for {}", cause.word()));
        }
    }

    fn faults_at_peer(&self, peer: &Peer, faults: &mut Vec<String>) {
        let book = peer.book();
        faults.extend(book.strange.iter().map(|what| format!("the PBX got {what}")));
        if book.finals.len() > 1 {
            faults.push(format!("the PBX got several final responses: {:?}", book.finals));
        }
        // At the worst weather that is drawn, all of seven tries are lost once in ten million times.
        if book.invite_unanswered {
            faults.push("the PBX's INVITE was never answered".to_owned());
        }
        faults.extend(book.unanswered.iter().map(|method| format!("the PBX's {method} was never answered")));
        if book.unacknowledged {
            faults.push("the PBX's 2xx was never acknowledged".to_owned());
        }
        if book.unpracked {
            faults.push("the PBX's reliable provisional response got no PRACK".to_owned());
        }
        let up = book.accepted || book.finals.iter().any(|status| *status < 300);
        if up && !peer.vanishes() && !book.bye_heard && !book.bye_said {
            faults.push("the PBX's call never ended".to_owned());
        }
        if book.forked && !book.fork_ended && !peer.vanishes() {
            faults.push("the call of the PBX's second phone never ended".to_owned());
        }
        let taken: String = self.browsers.iter().map(|page| page.book().keys.as_str()).collect();
        let mut rest = taken.chars();
        // To a joined call come the keys of the other one's party.
        if !self.is_joined() && !book.keys.values().all(|key| rest.any(|taken| taken == *key)) {
            faults.push(format!("the PBX heard the keys {:?} of {taken}", book.keys));
        }
    }

    fn faults_of_record(&self, faults: &mut Vec<String>) {
        let Some(record) = &self.record else {
            if self.outcome.is_some() {
                faults.push("it left no record".to_owned());
            }
            return;
        };
        if record.ended.is_none() || record.end_reason.is_none() {
            faults.push("its record has no end".to_owned());
        }
        let was_up = if self.is_launched { self.media.book().talked } else { self.winner().is_some() };
        if record.answered.is_some() != was_up {
            faults.push(format!("its record says answered: {:?}", record.answered));
        }
        if record.direction != self.direction {
            faults.push("its record has the wrong direction".to_owned());
        }
    }
}

fn faults_at_page(page: &Browser, faults: &mut Vec<String>) {
    let book = page.book();
    if book.began && book.ended.len() != 1 {
        faults.push(format!("the page heard of {} ends", book.ended.len()));
    }
    if book.after_end > 0 {
        faults.push("the page heard of a call that had ended".to_owned());
    }
    let replies: Vec<(u64, u32)> = book.replies.iter().map(|(token, count)| (*token, *count)).collect();
    let due: Vec<(u64, u32)> = (1..=page.requests()).map(|token| (token, 1)).collect();
    if replies != due {
        faults.push(format!("replies to {} requests: {replies:?}", due.len()));
    }
    if book.transfers_ended > book.transfers || book.transfers - book.transfers_ended > 1 {
        faults.push(format!("{} transfers were taken, and {} came to an end", book.transfers, book.transfers_ended));
    }
}

/// What a caller may be told for each cause: sip.md's answers by agent state, and never 6xx.
fn statuses_of(cause: Cause) -> &'static [u16] {
    match cause {
        // A required PRACK that never came is 504, or 488 where it should have brought an answer.
        Cause::Cancelled | Cause::AnsweredElsewhere => &[487, 504, 488],
        Cause::UnknownExtension => &[404],
        Cause::AgentBusy | Cause::Rejected => &[486],
        Cause::NotAcceptable => &[400, 415, 488],
        Cause::RecordingFailed | Cause::Overloaded | Cause::Draining => &[503],
        Cause::AgentUnavailable
        | Cause::NoAnswer
        | Cause::DeviceSilent
        | Cause::GroupExhausted
        | Cause::TransportFailed
        | Cause::Hangup
        | Cause::Transferred
        | Cause::MediaTimeout
        | Cause::AgentVanished
        | Cause::PeerLost
        | Cause::TimeLimit
        | Cause::TrunkRefused(_) => &[480],
    }
}
