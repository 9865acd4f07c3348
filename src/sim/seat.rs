//! One call's place in the world: its PBX, its page, its media, and the call itself while there is one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::call::call::Ground;
use crate::call::{AgentParty, Call, CallIds, CallRecord, Cause, Config, DtmfMethod, HoldStyle, Output, TrunkPolicy};
use crate::clock::Clock;
use crate::ids::{CallId, Extension, LegId, RecordingId, SessionId, SignalingId};
use crate::recording::{CallDirection, Obligation};
use crate::sdp::SrtpSecret;
use crate::sim::browser::Browser;
use crate::sim::media::Media;
use crate::sim::peer::Peer;
use crate::sim::script::CallScript;
use crate::sip;
use crate::sip::message::{Host, SipUri};
use crate::worker::{MediaSource, TapId, TrunkCodec};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Seat {
    number: usize,
    obligation: Obligation,
    direction: CallDirection,
    pub(super) peer: Peer,
    pub(super) browser: Browser,
    pub(super) media: Media,
    /// When the page dials, for an outbound call.
    pub(super) dials_at: Option<Instant>,
    pub(super) ids: CallIds,
    pub(super) call: Option<Call>,
    pub(super) outcome: Option<Cause>,
    /// The registry refused it: nobody was there.
    pub(super) refused_at_the_door: bool,
    pub(super) record: Option<CallRecord>,
}

impl Seat {
    pub(super) fn new(
        number: usize,
        script: CallScript,
        (start, gateway): (Instant, SocketAddr),
        rng: &mut StdRng,
    ) -> Self {
        let begins = start + script.begins;
        let inbound = script.direction == CallDirection::Inbound;
        let called = SipUri::with_user(&format!("100{number}"), Host::from(gateway.ip()), Some(gateway.port()));
        Self {
            number,
            obligation: script.obligation,
            direction: script.direction,
            peer: Peer::new(number, script.peer, called, (start, inbound.then_some(begins))),
            browser: Browser::new(script.browser, begins),
            media: Media::new(script.media, StdRng::seed_from_u64(rng.next_u64())),
            dials_at: (!inbound).then_some(begins),
            ids: ids(rng),
            call: None,
            outcome: None,
            refused_at_the_door: false,
            record: None,
        }
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        let call = self.call.as_ref().and_then(|call| call.poll_timeout().map(|(at, _)| at));
        let around = [self.peer.poll_timeout(), self.browser.next_at(), self.media.next_at(), self.dials_at, call];
        around.into_iter().flatten().min()
    }

    /// The session of its page.
    pub(super) fn session(&self) -> SignalingId {
        SignalingId::from_uuid(uuid::Uuid::from_u128(self.number as u128 + 1))
    }

    pub(super) fn ground(&self, config: &Arc<Config>, clock: Clock) -> Ground {
        let number = self.number;
        let agent = AgentParty {
            session: self.session(),
            user: format!("agent{number}"),
            name: format!("Agent {number}"),
            extension: Extension::new(format!("100{number}")),
            number: format!("100{number}"),
        };
        let trunk = TrunkPolicy {
            media_address: [192, 0, 2, 1].into(),
            media_advertised: [192, 0, 2, 1].into(),
            codecs: vec![TrunkCodec::Pcmu, TrunkCodec::Pcma],
            ptime_ms: 20,
            recording: self.obligation,
            srtp: None,
            media_source: MediaSource::Exact,
            hold_style: HoldStyle::Local,
            dtmf: DtmfMethod::Rfc4733,
        };
        Ground { ids: self.ids, agent, trunk, config: Arc::clone(config), clock, emergency: None }
    }

    /// As a call's task does; what is for the SIP task is given back.
    pub(super) fn carry_out(&mut self, now: Instant) -> Vec<sip::Command> {
        let mut commands = Vec::new();
        let Some(call) = &mut self.call else { return commands };
        while let Some(output) = call.poll_output() {
            match output {
                Output::Sip(command) => commands.push(command),
                Output::Worker(command) => self.media.command(&command, now),
                Output::Recorder(command) => self.media.record(&command, now),
                Output::Signaling { command, .. } => self.browser.command(command, now),
                Output::Record(record) => self.record = Some(*record),
                Output::Alarm(_) => {}
            }
        }
        if let Some(cause) = call.outcome() {
            self.outcome = Some(cause);
            self.call = None;
        }
        commands
    }

    /// What was promised of this call and not kept.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(call) = &self.call {
            faults.push(format!("never ended: {}, waiting for {:?}", call.phase_name(), call.poll_timeout()));
        }
        self.faults_of_media(&mut faults);
        self.faults_at_page(&mut faults);
        self.faults_at_peer(&mut faults);
        self.faults_of_record(&mut faults);
        faults
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
        faults.extend(book.strange.iter().map(|what| (*what).to_owned()));
    }

    fn faults_at_page(&self, faults: &mut Vec<String>) {
        let book = self.browser.book();
        if book.began && book.ended.len() != 1 {
            faults.push(format!("the page heard of {} ends", book.ended.len()));
        }
        if book.after_end > 0 {
            faults.push("the page heard of a call that had ended".to_owned());
        }
        if book.answered > 1 || (book.answered == 1) != self.media.book().talked {
            faults.push(format!(
                "told answered {} times, audio both ways: {}",
                book.answered,
                self.media.book().talked
            ));
        }
        let replies: Vec<(u64, u32)> = book.replies.iter().map(|(token, count)| (*token, *count)).collect();
        let due: Vec<(u64, u32)> = (1..=self.browser.requests()).map(|token| (token, 1)).collect();
        if replies != due {
            faults.push(format!("replies to {} requests: {replies:?}", due.len()));
        }
    }

    fn faults_at_peer(&self, faults: &mut Vec<String>) {
        let book = self.peer.book();
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
        let up = book.accepted || book.finals.iter().any(|status| *status < 300);
        if up && !self.peer.vanishes() && !book.bye_heard && !book.bye_said {
            faults.push("the PBX's call never ended".to_owned());
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
        if record.answered.is_some() != (self.browser.book().answered > 0) {
            faults.push(format!("its record says answered: {:?}", record.answered));
        }
        if record.direction != self.direction {
            faults.push("its record has the wrong direction".to_owned());
        }
    }
}

fn ids(rng: &mut StdRng) -> CallIds {
    CallIds {
        call: CallId::generate(1, rng),
        session: SessionId::generate(rng),
        trunk_leg: LegId::generate(1, rng),
        agent_leg: LegId::generate(1, rng),
        recording: RecordingId::generate(1, rng),
        tap: TapId(rng.next_u64()),
        sdp_session: rng.next_u64() >> 1,
        srtp: SrtpSecret::generate(rng),
    }
}
