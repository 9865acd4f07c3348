//! Flows within a call that is up.

use std::time::Duration;

use crate::cli::qualify::begin::TALK;
use crate::cli::qualify::begin::allows_update;
use crate::cli::qualify::call::TestCall;
use crate::cli::qualify::endpoint::Endpoint;
use crate::cli::qualify::report::Outcome;
use crate::cli::qualify::robot::Robot;
use crate::cli::qualify::robot::Verdict;
use crate::cli::qualify::robot::direction_of;
use crate::codec::TrunkCodec;
use crate::rtp::telephone_event::DtmfDigit;
use crate::sdp::Direction;
use crate::sip::Body;
use crate::sip::message::Method;
use crate::sip::quirk::Quirk;

/// How long the peer may take to stop its audio once it is held, and to begin again.
const SETTLE: Duration = Duration::from_millis(400);
/// Packets that a held peer may still send in [`TALK`]: none would be right, a stray one may be under way.
const STRAY_PACKETS: usize = 3;

/// A flow within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Talk {
    Hold(Direction),
    OfferlessReinvite,
    Glare,
    Update,
    CodecChange,
    Dtmf,
}

impl Robot<'_> {
    /// Places a call, does one thing in it, and hangs up.
    pub(super) async fn talk(&mut self, talk: Talk) -> anyhow::Result<Verdict> {
        let mut endpoint = self.endpoint(|_| {}).await?;
        let verdict = match self.call(&mut endpoint, true).await? {
            Err(why) => (Outcome::NotTested, why.to_string()),
            Ok(mut call) => {
                // A peer may have its own to say first, such as to let the media flow directly.
                let audio = call.listen(&mut endpoint, TALK).await;
                let (outcome, seen) = match talk {
                    Talk::Hold(direction) => hold(&mut call, &mut endpoint, direction, audio).await,
                    Talk::OfferlessReinvite => offerless_reinvite(&mut call, &mut endpoint).await,
                    Talk::Glare => glare(&mut call, &mut endpoint).await,
                    Talk::Update => self.update(&mut call, &mut endpoint).await,
                    Talk::CodecChange => codec_change(&mut call, &mut endpoint, audio).await,
                    Talk::Dtmf => self.dtmf(&mut call, &mut endpoint).await,
                };
                let bye = call.hang_up(&mut endpoint).await;
                if outcome == Outcome::Supported && !(200..300).contains(&bye) {
                    (Outcome::Wrong, format!("{seen}; BYE: {bye}"))
                } else {
                    (outcome, seen)
                }
            }
        };
        self.learn(endpoint).await;
        Ok(verdict)
    }

    async fn update(&mut self, call: &mut TestCall, endpoint: &mut Endpoint) -> Verdict {
        if !allows_update(endpoint) {
            return (Outcome::NotSupported, "Allow does not name it".to_owned());
        }
        let status = call.probe(endpoint, Method::Update, Vec::new(), None).await;
        if (200..300).contains(&status) {
            return (Outcome::Supported, format!("UPDATE without a body: {status}"));
        }
        self.proposal.quirks.insert(Quirk::NoUpdate);
        (Outcome::Wrong, format!("named in Allow, but UPDATE: {status}"))
    }

    async fn dtmf(&mut self, call: &mut TestCall, endpoint: &mut Endpoint) -> Verdict {
        if let Some(payload_type) = call.agreed.telephone_event {
            let now = endpoint.clock.now();
            let pressed = DtmfDigit::from_char('5')
                .is_some_and(|digit| endpoint.media.as_mut().is_some_and(|media| media.press(digit, now)));
            let _audio = call.listen(endpoint, TALK).await;
            let came = endpoint.media.as_ref().map_or(0, |media| media.heard().events);
            let sent = if pressed { "5 was pressed" } else { "the stream is encrypted, so nothing was pressed" };
            return (
                Outcome::Supported,
                format!("telephone-event as payload type {payload_type}; {sent}, {came} packets of events came back"),
            );
        }
        let body =
            Body { content_type: "application/dtmf-relay".to_owned(), content: "Signal=5\r\nDuration=100\r\n".into() };
        let status = call.probe(endpoint, Method::Info, Vec::new(), Some(body)).await;
        if (200..300).contains(&status) {
            self.proposal.settings.insert("dtmf = \"info\"");
            return (Outcome::Supported, format!("no telephone-event in its answer; by INFO: {status}"));
        }
        (Outcome::NotSupported, format!("no telephone-event in its answer; INFO: {status}"))
    }
}

/// Our hold, what the peer answers and whether it falls silent; and the resumption.
async fn hold(call: &mut TestCall, endpoint: &mut Endpoint, direction: Direction, audio: usize) -> Verdict {
    call.local.direction = direction;
    let held = match call.renegotiate(endpoint).await {
        Ok(answer) => direction_of(&answer),
        Err(status) => return (Outcome::NotSupported, format!("a={direction}: {status}")),
    };
    let _settling = call.listen(endpoint, SETTLE).await;
    let meanwhile = call.listen(endpoint, TALK).await;
    call.local.direction = Direction::SendRecv;
    let resumed = match call.renegotiate(endpoint).await {
        Ok(answer) => direction_of(&answer),
        Err(status) => return (Outcome::Wrong, format!("a={direction}: a={held}; resuming: {status}")),
    };
    let _settling = call.listen(endpoint, SETTLE).await;
    let after = call.listen(endpoint, TALK).await;
    let seen = format!(
        "a={direction}: a={held}, {meanwhile} packets of audio; resumed: a={resumed}, {after} packets ({audio} before)"
    );
    let is_held = !held.sends() && meanwhile <= STRAY_PACKETS;
    let is_resumed = resumed == Direction::SendRecv && (audio == 0 || after > 0);
    (if is_held && is_resumed { Outcome::Supported } else { Outcome::Wrong }, seen)
}

/// A re-INVITE that asks for the peer's offer.
async fn offerless_reinvite(call: &mut TestCall, endpoint: &mut Endpoint) -> Verdict {
    let status = call.probe(endpoint, Method::Invite, Vec::new(), None).await;
    if !(200..300).contains(&status) {
        return (Outcome::NotSupported, format!("a re-INVITE without offer: {status}"));
    }
    let Ok(offer) = call.renegotiated(endpoint).await else {
        return (Outcome::Wrong, format!("{status} without an offer"));
    };
    if !call.answer(endpoint, &offer) {
        return (Outcome::Wrong, format!("{status} with an offer that cannot be used"));
    }
    let audio = call.listen(endpoint, TALK).await;
    let direction = direction_of(&offer);
    let seen = format!("{status} with an offer (a={direction}); {audio} packets of audio afterwards");
    // RFC 6337 5.3: what it would take if this were a new call.
    (if direction == Direction::SendRecv { Outcome::Supported } else { Outcome::Wrong }, seen)
}

/// Two offers cross: the peer's, made at our asking, waits for its answer when ours comes by UPDATE (RFC 3311 5.2).
async fn glare(call: &mut TestCall, endpoint: &mut Endpoint) -> Verdict {
    if !allows_update(endpoint) {
        return (Outcome::NotTested, "without UPDATE, offers cross only where the peer makes one by itself".to_owned());
    }
    let asked = call.probe(endpoint, Method::Invite, Vec::new(), None).await;
    let offer = if (200..300).contains(&asked) { call.renegotiated(endpoint).await.ok() } else { None };
    let Some(offer) = offer else {
        return (Outcome::NotTested, format!("a re-INVITE without offer brought none: {asked}"));
    };
    let crossing = call.spare_offer();
    let status = call.probe(endpoint, Method::Update, Vec::new(), Some(Body::sdp(crossing))).await;
    let answered = call.answer(endpoint, &offer);
    let _audio = call.listen(endpoint, TALK).await;
    let seen = format!("an offer that crosses its own: {status}");
    match status {
        491 if answered => (Outcome::Supported, seen),
        500 if answered => (Outcome::Supported, format!("{seen} (491 would be right)")),
        _ => (Outcome::Wrong, seen),
    }
}

/// The other law of G.711, from one moment to the next.
async fn codec_change(call: &mut TestCall, endpoint: &mut Endpoint, audio: usize) -> Verdict {
    let (before, other) = match call.agreed.codec {
        TrunkCodec::Pcmu => ("PCMU", TrunkCodec::Pcma),
        TrunkCodec::Pcma => ("PCMA", TrunkCodec::Pcmu),
    };
    if !call.local.codecs.contains(&other) {
        return (Outcome::NotTested, format!("the trunk's `codecs` has none but {before}"));
    }
    call.local.codecs = vec![other];
    if let Err(status) = call.renegotiate(endpoint).await {
        return (Outcome::NotSupported, format!("from {before} to the other law: {status}"));
    }
    let _settling = call.listen(endpoint, SETTLE).await;
    let after = call.listen(endpoint, TALK).await;
    let came = endpoint.media.as_ref().and_then(|media| media.heard().payload_type);
    let wanted = call.agreed.receive_payload_type;
    let seen = format!("from {before} to payload type {wanted}; {after} packets of audio, the last of type {came:?}");
    let is_right = call.agreed.codec == other && (audio == 0 || came == Some(wanted));
    (if is_right { Outcome::Supported } else { Outcome::Wrong }, seen)
}
