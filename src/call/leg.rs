//! The trunk leg's side of offer/answer: our port, the session description, and what was negotiated.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::call::TrunkPolicy;
use crate::sdp;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::worker::MediaSource;
use crate::worker::TrunkMedia;

/// A trunk leg whose media port is bound.
#[derive(Debug)]
pub struct TrunkLeg {
    local: sdp::Local,
    session: sdp::Session,
    pending: Option<sdp::PendingOffer>,
    /// The session as it was before our offer, until the peer has said something to that.
    before_offer: Option<sdp::Session>,
    media: Option<TrunkMedia>,
    source: MediaSource,
    /// The direction of the last description that was settled.
    settled: sdp::Direction,
    /// A peer that refuses SRTP may be offered RTP in the clear.
    may_downgrade: bool,
}

/// The trunk leg with the description that our 200 will carry.
#[derive(Debug)]
pub struct Described {
    /// The leg.
    pub leg: TrunkLeg,
    /// Our answer, or our offer where the INVITE had none.
    pub sdp: Bytes,
}

impl TrunkLeg {
    /// A leg whose RTP port was bound at `bound`; its descriptions bear `sdp_session`, which no other leg of the call
    /// has: its SRTP keys come from it and the call's secret.
    pub fn new(policy: &TrunkPolicy, bound: SocketAddr, sdp_session: u64, secret: sdp::SrtpSecret) -> Self {
        let local = sdp::Local {
            address: policy.media_advertised,
            rtp_port: bound.port(),
            codecs: policy.codecs.clone(),
            telephone_event: true,
            ptime_ms: policy.ptime_ms,
            direction: sdp::Direction::SendRecv,
            srtp: policy.srtp.as_ref().map(|srtp| secret.srtp(sdp_session, srtp.required, &srtp.suites)),
        };
        let (source, settled) = (policy.media_source.clone(), local.direction);
        let may_downgrade = policy.srtp.as_ref().is_some_and(|srtp| srtp.downgrade && !srtp.required);
        let session = sdp::Session::new(sdp_session);
        Self { local, session, pending: None, before_offer: None, media: None, source, settled, may_downgrade }
    }

    /// Answers the peer's offer. One of our own that still waits has been overtaken by it and never leaves: this answer
    /// has its version (RFC 3264 8). After a refusal everything is as it was.
    pub fn answer(&mut self, offer: &[u8]) -> Result<Bytes, Refusal> {
        let mut session = self.before_offer.as_ref().unwrap_or(&self.session).clone();
        let (answer, negotiated) = session.answer(offer, &self.local).map_err(|refused| refusal(&refused))?;
        self.session = session;
        if self.before_offer.take().is_some() {
            self.pending = None;
        }
        self.media = Some(trunk_media(negotiated, self.source.clone()));
        self.settled = self.local.direction;
        Ok(answer)
    }

    /// Makes an offer of our own, which an answer must settle. It takes the place of one that still waits, and never
    /// leaves.
    pub fn offer(&mut self) -> Bytes {
        if let Some(before) = self.before_offer.take() {
            self.session = before;
        }
        self.before_offer = Some(self.session.clone());
        let (offer, pending) = self.session.offer(&self.local);
        self.pending = Some(pending);
        offer
    }

    /// After a 488 to our offer of SRTP: from now on RTP in the clear, where the trunk allows that. Once.
    pub fn downgrade(&mut self) -> bool {
        let downgraded = self.may_downgrade && self.local.srtp.take().is_some();
        self.may_downgrade = false;
        self.before_offer = None;
        downgraded
    }

    /// Takes an answer that may still change: the description of an unreliable 183.
    pub fn preview(&mut self, answer: &[u8]) -> Result<(), Refusal> {
        let Some(pending) = self.pending.clone() else { return Ok(()) };
        let negotiated = pending.accept(&mut self.session, answer).map_err(|refused| refusal(&refused))?;
        self.media = Some(trunk_media(negotiated, self.source.clone()));
        self.before_offer = None;
        Ok(())
    }

    /// Settles our offer with the peer's answer.
    pub fn accept(&mut self, answer: &[u8]) -> Result<(), Refusal> {
        self.preview(answer)?;
        self.pending = None;
        self.settled = self.local.direction;
        Ok(())
    }

    /// What our descriptions say of the stream: sendrecv unless we hold.
    pub const fn direction(&self) -> sdp::Direction {
        self.local.direction
    }

    /// Has our next descriptions say `direction`.
    pub const fn set_direction(&mut self, direction: sdp::Direction) {
        self.local.direction = direction;
    }

    /// Takes back an offer that the peer refused: the session is as it was (RFC 3261 14.1), but for the version.
    pub fn withdraw(&mut self) {
        self.pending = None;
        self.before_offer = None;
        self.local.direction = self.settled;
    }

    /// Whether the peer holds us; `None` where we do not want to send, so that it cannot be told.
    pub fn is_held_by_peer(&self) -> Option<bool> {
        self.media.as_ref().filter(|_| self.local.direction.sends()).map(|media| !media.send)
    }

    /// Whether an offer of ours still waits for its answer.
    pub const fn is_offering(&self) -> bool {
        self.pending.is_some()
    }

    /// What was negotiated last.
    pub fn media(&self) -> Option<TrunkMedia> {
        self.media.clone()
    }
}

fn refusal(refused: &sdp::Refusal) -> Refusal {
    let status = StatusCode::new(refused.status()).unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE);
    let warning = refused.warning().map(|(code, text)| (code, text.to_owned()));
    Refusal { warning, ..Refusal::new(status) }
}

fn trunk_media(negotiated: sdp::Negotiated, source: MediaSource) -> TrunkMedia {
    TrunkMedia {
        remote: negotiated.remote_rtp,
        remote_rtcp: negotiated.remote_rtcp,
        codec: negotiated.codec,
        payload_type: negotiated.payload_type,
        receive_payload_type: negotiated.receive_payload_type,
        telephone_event: negotiated.telephone_event,
        receive_telephone_event: negotiated.receive_telephone_event,
        ptime_ms: negotiated.ptime_ms,
        send: negotiated.send,
        receive: negotiated.receive,
        srtp: negotiated.srtp,
        source,
    }
}
