//! The browsers that ring for one inbound call, before one of them is joined to it.
//!
//! A call for one agent is a hunt with one candidate. Each candidate has a browser leg of its own, whose transport
//! comes up while it rings; the winner's stays, the others' are closed.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::call::AgentParty;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::context::Context;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::limits::RING_PARALLEL_MAX;
use crate::signaling::AgentState;
use crate::signaling::Notification;
use crate::sip::Invitation;
use crate::worker;

/// An agent who may be rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub agent: AgentParty,
    /// The browser leg, named by whoever begins the call.
    pub leg: LegId,
    /// They talk already: their page rings softly.
    pub waiting: bool,
}

/// Who is rung for a call, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunt {
    /// In the order in which they ring; never empty.
    pub candidates: Vec<Candidate>,
    /// One after the other, not all at once.
    pub one_by_one: bool,
    /// How long each rings.
    pub ring_time: Duration,
    /// Dialled as a group: its answer is the group's, not one member's.
    pub is_group: bool,
}

/// What the page shows of a caller.
#[derive(Debug)]
struct Caller {
    from: String,
    to: String,
    name: Option<String>,
    trunk: String,
}

/// One browser that rings, or is about to.
#[derive(Debug)]
struct Rung {
    candidate: Candidate,
    /// Our offer, until the browser is told of the call.
    offer: Option<String>,
    told: bool,
    connected: bool,
    /// Until when it must have said that it rings; `None` once it has.
    alerts_by: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Ring {
    caller: Caller,
    later: VecDeque<Candidate>,
    rung: Vec<Rung>,
    one_by_one: bool,
    is_group: bool,
    turn: Duration,
    /// The trunk's offer can be taken: browsers may be told.
    open: bool,
}

/// Who accepted.
#[derive(Debug)]
pub struct Winner {
    /// Whether their transport is up.
    pub connected: bool,
}

impl Ring {
    /// Asks for the offers of whoever rings first.
    pub fn begin(hunt: Hunt, invitation: &Invitation, context: &mut Context, now: Instant) -> Self {
        let (from, name) = invitation.shown_caller();
        let caller = Caller { from, to: invitation.called.clone(), name, trunk: invitation.trunk.to_string() };
        let Hunt { candidates, one_by_one, ring_time, is_group } = hunt;
        let later = candidates.into();
        let mut ring = Self { caller, later, rung: Vec::new(), one_by_one, is_group, turn: ring_time, open: false };
        context.audience.clear();
        ring.next_wave(context, now);
        ring
    }

    fn next_wave(&mut self, context: &mut Context, now: Instant) {
        let wave = if self.one_by_one { 1 } else { RING_PARALLEL_MAX };
        let alerts_by = Some(now + context.config.transport_timeout + context.config.device_timeout);
        for _ in 0..wave {
            let Some(candidate) = self.later.pop_front() else { break };
            let (call, leg) = (context.ids.call, candidate.leg);
            context.worker(worker::Command::OfferPeer { call, leg });
            context.audience.push((candidate.agent.session, candidate.agent.extension.clone()));
            self.rung.push(Rung { candidate, offer: None, told: false, connected: false, alerts_by });
        }
        if self.open {
            context.start_timer(CallTimer::Answer, self.turn, now);
        }
        self.watch_devices(context);
    }

    /// From now on browsers are told: what the trunk offers can be answered.
    pub fn open(&mut self, context: &mut Context, now: Instant) {
        self.open = true;
        context.start_timer(CallTimer::Answer, self.turn, now);
        self.tell(context, now);
    }

    /// Whether a browser was told of the call.
    pub fn rings(&self) -> bool {
        self.rung.iter().any(|rung| rung.told)
    }

    /// Whether there is an offer for at least one browser.
    pub fn has_offer(&self) -> bool {
        self.rung.iter().any(|rung| rung.told || rung.offer.is_some())
    }

    /// Whether everybody who rings talks already.
    pub fn is_waiting(&self) -> bool {
        self.rung.iter().all(|rung| rung.candidate.waiting)
    }

    /// Whether the browser of `session` rings, or is about to.
    pub fn has(&self, session: SignalingId) -> bool {
        self.rung.iter().any(|rung| rung.candidate.agent.session == session)
    }

    /// The leg of a browser that rings.
    pub fn leg_of(&self, session: SignalingId) -> Option<LegId> {
        self.rung.iter().find(|rung| rung.candidate.agent.session == session).map(|rung| rung.candidate.leg)
    }

    /// Whether `leg` is a browser's that rings.
    pub fn has_leg(&self, leg: LegId) -> bool {
        self.rung.iter().any(|rung| rung.candidate.leg == leg)
    }

    /// The worker made our offer for `leg`.
    pub fn offered(&mut self, leg: LegId, sdp: String, context: &mut Context, now: Instant) {
        if let Some(rung) = self.rung.iter_mut().find(|rung| rung.candidate.leg == leg && !rung.told) {
            rung.offer = Some(sdp);
        }
        if self.open {
            self.tell(context, now);
        }
    }

    fn tell(&mut self, context: &mut Context, now: Instant) {
        for rung in &mut self.rung {
            let Some(sdp) = rung.offer.take() else { continue };
            rung.told = true;
            rung.alerts_by = Some(now + context.config.device_timeout);
            let Caller { from, to, name, trunk } = &self.caller;
            let notification = Notification::Incoming {
                call: context.ids.call,
                from: from.clone(),
                to: to.clone(),
                name: name.clone(),
                trunk: trunk.clone(),
                waiting: rung.candidate.waiting,
                sdp,
            };
            context.notify_to(rung.candidate.agent.session, notification);
        }
        self.watch_devices(context);
    }

    fn watch_devices(&self, context: &mut Context) {
        match self.rung.iter().filter_map(|rung| rung.alerts_by).min() {
            Some(at) => context.timers.set(CallTimer::DeviceAlerts, at),
            None => context.timers.stop(CallTimer::DeviceAlerts),
        }
    }

    /// The browser of `session` says that it rings.
    pub fn alerts(&mut self, session: SignalingId, context: &mut Context) {
        if let Some(rung) = self.rung.iter_mut().find(|rung| rung.candidate.agent.session == session) {
            rung.alerts_by = None;
        }
        self.watch_devices(context);
    }

    /// The page of `from` was reloaded: the new one rings, as if it were told for the first time.
    pub fn ring_anew(&mut self, from: SignalingId, session: SignalingId, leg: LegId, cx: &mut Context, now: Instant) {
        let Some(rung) = self.rung.iter_mut().find(|rung| rung.candidate.agent.session == from) else { return };
        let call = cx.ids.call;
        cx.worker(worker::Command::CloseLeg { call, leg: rung.candidate.leg });
        cx.worker(worker::Command::OfferPeer { call, leg });
        for (heard, _) in cx.audience.iter_mut().filter(|(heard, _)| *heard == from) {
            *heard = session;
        }
        let Candidate { mut agent, waiting, .. } = rung.candidate.clone();
        agent.session = session;
        let alerts_by = Some(now + cx.config.transport_timeout + cx.config.device_timeout);
        let candidate = Candidate { agent, leg, waiting };
        *rung = Rung { candidate, offer: None, told: false, connected: false, alerts_by };
        self.watch_devices(cx);
    }

    /// The transport of `leg` is up.
    pub fn connected(&mut self, leg: LegId) {
        if let Some(rung) = self.rung.iter_mut().find(|rung| rung.candidate.leg == leg) {
            rung.connected = true;
        }
    }

    /// The agent of `session` accepted: they have the call, and the others hear that somebody has it.
    pub fn join(self, session: SignalingId, context: &mut Context) -> Option<Winner> {
        let mut winner = None;
        for rung in self.rung {
            if rung.candidate.agent.session == session && winner.is_none() {
                winner = Some(rung);
            } else {
                dismiss(&rung, Cause::AnsweredElsewhere, context);
            }
        }
        let Rung { candidate, connected, .. } = winner?;
        let (call, leg) = (context.ids.call, candidate.leg);
        context.join(candidate.agent, leg);
        if self.is_group {
            // The worker hears one browser: the one last named by a command about its audio.
            context.worker(worker::Command::SetMuted { call, leg, muted: false });
        }
        Some(Winner { connected })
    }

    /// One browser rings no longer. `Err` where nobody else will.
    pub fn drop_session(
        &mut self,
        session: SignalingId,
        why: Cause,
        cx: &mut Context,
        now: Instant,
    ) -> Result<(), Cause> {
        self.drop_where(|rung| rung.candidate.agent.session == session, why, cx, now)
    }

    /// One browser's leg failed. `Err` where nobody else will ring.
    pub fn drop_leg(&mut self, leg: LegId, why: Cause, context: &mut Context, now: Instant) -> Result<(), Cause> {
        self.drop_where(|rung| rung.candidate.leg == leg, why, context, now)
    }

    /// Skips the devices that should have said by `now` that they ring. `Err` where nobody else will.
    pub fn skip_silent(&mut self, context: &mut Context, now: Instant) -> Result<(), Cause> {
        self.drop_where(|rung| rung.alerts_by.is_some_and(|at| at <= now), Cause::DeviceSilent, context, now)
    }

    /// Whoever rings had their time: the next, if there is one.
    pub fn turn_over(&mut self, context: &mut Context, now: Instant) -> Result<(), Cause> {
        if context.config.unavailable_after_no_answer {
            for rung in self.rung.iter().filter(|rung| rung.told && !rung.candidate.waiting) {
                context.set_agent_state(rung.candidate.agent.session, AgentState::Offline);
            }
        }
        self.drop_where(|_| true, Cause::NoAnswer, context, now)
    }

    fn drop_where(
        &mut self,
        which: impl Fn(&Rung) -> bool,
        why: Cause,
        context: &mut Context,
        now: Instant,
    ) -> Result<(), Cause> {
        let (gone, stay): (Vec<Rung>, Vec<Rung>) = self.rung.drain(..).partition(which);
        self.rung = stay;
        if self.rung.is_empty() && self.later.is_empty() {
            // The end of the call tells them.
            self.rung = gone;
            return Err(if self.is_group { Cause::GroupExhausted } else { why });
        }
        for rung in &gone {
            dismiss(rung, why, context);
        }
        if self.rung.is_empty() {
            self.next_wave(context, now);
        } else {
            self.watch_devices(context);
        }
        Ok(())
    }
}

fn dismiss(rung: &Rung, why: Cause, context: &mut Context) {
    let (call, leg, session) = (context.ids.call, rung.candidate.leg, rung.candidate.agent.session);
    context.worker(worker::Command::CloseLeg { call, leg });
    context.audience.retain(|(heard, _)| *heard != session);
    context.notify_to(session, why.ended(call));
}
