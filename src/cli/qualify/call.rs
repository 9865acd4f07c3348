//! One test call: placed, described, renegotiated, ended.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;

use crate::call::TrunkPolicy;
use crate::cli::qualify::endpoint::Endpoint;
use crate::ids::LegId;
use crate::ids::SessionId;
use crate::ids::TrunkName;
use crate::pii::Pii;
use crate::sdp;
use crate::sdp::Direction;
use crate::sdp::Negotiated;
use crate::sdp::SrtpSecret;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::OutgoingInvite;
use crate::sip::Party;
use crate::sip::Refusal;
use crate::sip::StatusCode;
use crate::sip::message::Method;

/// How long a call that was given up may take to end.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);

/// What a call is placed with.
#[derive(Debug, Clone)]
pub(super) struct Dialling<'a> {
    pub(super) trunk: &'a TrunkName,
    pub(super) policy: &'a TrunkPolicy,
    pub(super) number: &'a str,
    pub(super) from: &'a str,
    pub(super) patience: Duration,
}

/// Why there is no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoCall {
    /// The peer refused.
    Refused(u16),
    /// It neither answered nor refused in time.
    Silent,
    /// Its description cannot be used.
    BadSdp,
}

impl std::fmt::Display for NoCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(status) => write!(f, "the call was refused with {status}"),
            Self::Silent => write!(f, "the call was not answered in time"),
            Self::BadSdp => write!(f, "the session description cannot be used"),
        }
    }
}

/// A call that is up.
#[derive(Debug)]
pub(super) struct TestCall {
    pub(super) leg: LegId,
    session: sdp::Session,
    pub(super) local: sdp::Local,
    pub(super) agreed: Negotiated,
    patience: Duration,
}

/// A call that was placed and has no answer yet.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) leg: LegId,
    session: sdp::Session,
    local: sdp::Local,
    pending: Option<sdp::PendingOffer>,
    patience: Duration,
}

impl Placed {
    /// Sends the INVITE, with an offer or without.
    pub(super) async fn new(endpoint: &mut Endpoint, with: &Dialling<'_>, is_early: bool) -> anyhow::Result<Self> {
        let Dialling { policy, .. } = with;
        let media = super::media::Media::bind(policy.media_address, endpoint.clock, &mut endpoint.rng).await?;
        let sdp_session = endpoint.rng.random_range(1..1 << 62);
        let secret = SrtpSecret::generate(&mut endpoint.rng);
        let local = sdp::Local {
            address: policy.media_advertised,
            rtp_port: media.port(),
            codecs: policy.codecs.clone(),
            telephone_event: true,
            ptime_ms: policy.ptime_ms,
            direction: Direction::SendRecv,
            srtp: policy.srtp.as_ref().map(|srtp| secret.srtp(sdp_session, srtp.required, &srtp.suites)),
        };
        endpoint.media = Some(media);
        let mut session = sdp::Session::new(sdp_session);
        let (offer, pending) = session.offer(&local);
        let leg = LegId::generate(endpoint.clock.wall(endpoint.clock.now()).unix_ms(), &mut endpoint.rng);
        let session_id = SessionId::generate(&mut endpoint.rng);
        endpoint.command(Command::Invite(OutgoingInvite {
            leg,
            trunk: with.trunk.clone(),
            called: with.number.to_owned(),
            from: Party { user: Pii::new(with.from.to_owned()), display_name: None },
            session_id,
            offer: Some(offer).filter(|_| is_early),
            replaces: None,
            anonymous: false,
            headers: Vec::new(),
            user_to_user: None,
            diverted_from: None,
        }));
        // Without an offer of ours, the session begins with the peer's.
        let (session, pending) =
            if is_early { (session, Some(pending)) } else { (sdp::Session::new(sdp_session), None) };
        Ok(Self { leg, session, local, pending, patience: with.patience })
    }

    /// Waits for its answer.
    pub(super) async fn answered(mut self, endpoint: &mut Endpoint) -> Result<TestCall, NoCall> {
        let decided = endpoint.until(self.patience, Self::decision).await;
        let Some(decided) = decided else {
            endpoint.command(Command::Cancel { leg: self.leg, reason: None });
            // The peer's answer to the INVITE gets its ACK before we go.
            final_status(endpoint, &Method::Invite, CANCEL_PATIENCE).await;
            return Err(NoCall::Silent);
        };
        let described = decided?.ok_or(NoCall::BadSdp)?;
        let agreed = if let Some(pending) = self.pending.take() {
            pending.accept(&mut self.session, &described).map_err(|_refusal| NoCall::BadSdp)?
        } else {
            let answered = self.session.answer(&described, &self.local).map_err(|_refusal| NoCall::BadSdp)?;
            endpoint.command(Command::Answer { leg: self.leg, sdp: answered.0 });
            answered.1
        };
        let Self { leg, session, local, patience, .. } = self;
        if let Some(media) = &mut endpoint.media {
            media.connect(&agreed);
        }
        Ok(TestCall { leg, session, local, agreed, patience })
    }

    fn decision(endpoint: &mut Endpoint) -> Option<Result<Option<Bytes>, NoCall>> {
        while let Some(event) = endpoint.events.pop_front() {
            match event {
                Event::Accepted { sdp, .. } => return Some(Ok(sdp)),
                Event::Refused { status, .. } => return Some(Err(NoCall::Refused(status.as_u16()))),
                // A reliable provisional response with an offer: our answer goes with the 2xx's.
                Event::Progressed { .. }
                | Event::Invited(_)
                | Event::Cancelled { .. }
                | Event::Acknowledged { .. }
                | Event::Reinvited { .. }
                | Event::Renegotiated { .. }
                | Event::RenegotiationFailed { .. }
                | Event::RenegotiationOvertaken { .. }
                | Event::Referred { .. }
                | Event::ReferProgressed { .. }
                | Event::InfoReceived { .. }
                | Event::Ended { .. } => {}
            }
        }
        None
    }
}

impl TestCall {
    /// Sends an offer as [`Self::local`] says now, and takes the answer: its text, or the refusal's status.
    pub(super) async fn renegotiate(&mut self, endpoint: &mut Endpoint) -> Result<Bytes, u16> {
        let (sdp, pending) = self.session.offer(&self.local);
        endpoint.command(Command::Reinvite { leg: self.leg, sdp });
        let answer = self.renegotiated(endpoint).await?;
        self.agreed = pending.accept(&mut self.session, &answer).map_err(|refusal| refusal.status())?;
        if let Some(media) = &mut endpoint.media {
            media.connect(&self.agreed);
        }
        Ok(answer)
    }

    /// Waits for what the peer says to an offer of ours, or offers itself. 408 for silence.
    pub(super) async fn renegotiated(&mut self, endpoint: &mut Endpoint) -> Result<Bytes, u16> {
        let patience = self.patience;
        let said = endpoint.until(patience, |endpoint| self.said(endpoint)).await;
        said.unwrap_or(Err(408))
    }

    /// An offer as we stand, that nothing is to come of.
    pub(super) fn spare_offer(&self) -> Bytes {
        self.session.clone().offer(&self.local).0
    }

    /// Answers the offer that the peer made at our asking.
    pub(super) fn answer(&mut self, endpoint: &mut Endpoint, offer: &[u8]) -> bool {
        let Ok((sdp, agreed)) = self.session.answer(offer, &self.local) else { return false };
        endpoint.command(Command::Answer { leg: self.leg, sdp });
        if let Some(media) = &mut endpoint.media {
            media.connect(&agreed);
        }
        self.agreed = agreed;
        true
    }

    /// Looks through the events; what the peer wants of us is answered.
    fn said(&mut self, endpoint: &mut Endpoint) -> Option<Result<Bytes, u16>> {
        while let Some(event) = endpoint.events.pop_front() {
            match event {
                Event::Renegotiated { sdp, .. } => return Some(Ok(sdp)),
                Event::RenegotiationFailed { status, .. } => return Some(Err(status.as_u16())),
                Event::RenegotiationOvertaken { .. } => return Some(Err(StatusCode::REQUEST_PENDING.as_u16())),
                Event::Ended { .. } => return Some(Err(StatusCode::CALL_DOES_NOT_EXIST.as_u16())),
                Event::Reinvited { leg, offer } => self.reinvited(endpoint, leg, offer),
                Event::Referred { leg, .. } => {
                    let refusal = Refusal::new(StatusCode::FORBIDDEN);
                    endpoint.command(Command::RefuseRefer { leg, refusal });
                }
                Event::Accepted { .. }
                | Event::Refused { .. }
                | Event::Progressed { .. }
                | Event::Invited(_)
                | Event::Cancelled { .. }
                | Event::Acknowledged { .. }
                | Event::ReferProgressed { .. }
                | Event::InfoReceived { .. } => {}
            }
        }
        None
    }

    /// The peer's own re-INVITE or UPDATE.
    fn reinvited(&mut self, endpoint: &mut Endpoint, leg: LegId, offer: Option<Bytes>) {
        let sdp = match offer {
            Some(offer) => self.session.answer(&offer, &self.local).ok().map(|(sdp, agreed)| {
                self.agreed = agreed;
                sdp
            }),
            None => Some(self.session.offer(&self.local).0),
        };
        if let Some(sdp) = sdp {
            endpoint.command(Command::AcceptReinvite { leg, sdp });
        } else {
            let refusal = Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE);
            endpoint.command(Command::RefuseReinvite { leg, refusal });
        }
        if let Some(media) = &mut endpoint.media {
            media.connect(&self.agreed);
        }
    }

    /// Sends a request that is not the call room's, and waits for its final response: its status, 408 for silence.
    pub(super) async fn probe(
        &mut self,
        endpoint: &mut Endpoint,
        method: Method,
        headers: Vec<(crate::sip::message::HeaderName, String)>,
        body: Option<crate::sip::Body>,
    ) -> u16 {
        endpoint.command(Command::Probe { leg: self.leg, method: method.clone(), headers, body });
        final_status(endpoint, &method, self.patience).await
    }

    /// Talks for a while; how many packets of audio came.
    pub(super) async fn listen(&mut self, endpoint: &mut Endpoint, time: Duration) -> usize {
        if let Some(media) = &mut endpoint.media {
            media.reset();
        }
        let ended = endpoint.until(time, |endpoint| self.said(endpoint)).await;
        drop(ended);
        endpoint.media.as_ref().map_or(0, |media| media.heard().audio)
    }

    /// Hangs up. The status of the BYE's answer, 408 for silence.
    pub(super) async fn hang_up(self, endpoint: &mut Endpoint) -> u16 {
        endpoint.command(Command::Bye { leg: self.leg, reason: None });
        final_status(endpoint, &Method::Bye, self.patience).await
    }
}

/// Waits for the final response to our last request with this method; 408 for silence.
pub(super) async fn final_status(endpoint: &mut Endpoint, method: &Method, patience: Duration) -> u16 {
    let found = |endpoint: &mut Endpoint| {
        let status = endpoint.answer_to(method)?.status;
        (!status.is_provisional()).then_some(status.as_u16())
    };
    endpoint.until(patience, found).await.unwrap_or(408)
}
