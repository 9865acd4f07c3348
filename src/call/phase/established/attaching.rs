//! The agent's page was reloaded, or opened elsewhere: the same person's new session takes the call over.
//!
//! The new page gets a leg of its own, and the old one stays until that is up. The trunk is told of nothing: meanwhile
//! its party hears the hold music. The recording goes on; what it has of the way over is a hold.

use std::time::Instant;

use super::Established;
use crate::call::CallTimer;
use crate::call::Cause;
use crate::call::context::Context;
use crate::call::phase::Phase;
use crate::call::recording_state::RecordingState;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::limits::REATTACH_MAX;
use crate::recording::CallDirection;
use crate::signaling::Direction;
use crate::signaling::Line;
use crate::signaling::Notification;
use crate::worker;

impl Established {
    /// Asks for a leg for the new page. One that was asked for already is of a page that is no more, too.
    pub(super) fn reattach(mut self, session: SignalingId, leg: LegId, context: &mut Context, now: Instant) -> Self {
        let call = context.ids.call;
        if let Some(leg) = self.attaching.replace(leg) {
            context.worker(worker::Command::CloseLeg { call, leg });
        }
        context.reseat(session);
        // The new page opens its microphone, and knows of no mute.
        self.muted = false;
        context.worker(worker::Command::OfferPeer { call, leg });
        self.apply_agents_hold(context);
        context.start_timer(CallTimer::Reattach, REATTACH_MAX, now);
        self
    }

    /// What the worker says of the new page's leg.
    pub(super) fn heard_of_attaching(
        mut self,
        leg: LegId,
        kind: &worker::EventKind,
        context: &mut Context,
        now: Instant,
    ) -> Phase {
        match kind {
            worker::EventKind::PeerOffered { sdp } => self.tell_new_page(sdp.clone(), context, now),
            worker::EventKind::PeerConnected => self.attached(leg, context),
            worker::EventKind::LegFailed { .. } => return self.end(Cause::TransportFailed, context, now),
            _ => {}
        }
        self.into_phase()
    }

    fn tell_new_page(&self, sdp: String, context: &mut Context, now: Instant) {
        let talked = context.answered_at.map_or_else(Default::default, |at| now.saturating_duration_since(at));
        let line = Line {
            direction: match context.record.direction {
                CallDirection::Inbound => Direction::Inbound,
                CallDirection::Outbound => Direction::Outbound,
            },
            number: context.party.clone(),
            name: context.party_name.clone(),
            talked_ms: u64::try_from(talked.as_millis()).unwrap_or(u64::MAX),
            held_by_agent: self.hold.agent,
            held_by_peer: self.hold.peer,
            recording: context.recording == RecordingState::Active,
        };
        let call = context.ids.call;
        context.notify(Notification::Reattach { call, sdp, line: Box::new(line) });
    }

    /// The new page is there: its leg takes the old one's place, and so does its audio in the recording.
    fn attached(&mut self, leg: LegId, context: &mut Context) {
        context.timers.stop(CallTimer::Reattach);
        self.attaching = None;
        let (call, old) = (context.ids.call, context.ids.agent_leg);
        context.ids.agent_leg = leg;
        // The worker joins the leg that a command about audio names.
        context.worker(worker::Command::SetMuted { call, leg, muted: self.muted });
        context.worker(worker::Command::CloseLeg { call, leg: old });
        self.apply_agents_hold(context);
    }

    /// Mutes the agent; a page that is on its way, once it is there.
    pub(super) fn mute(&mut self, muted: bool, context: &mut Context) {
        self.muted = muted;
        if self.attaching.is_none() {
            let (call, leg) = (context.ids.call, context.ids.agent_leg);
            context.worker(worker::Command::SetMuted { call, leg, muted });
        }
    }

    /// The agent is wanted no longer. Says whether a page was on its way.
    pub(super) fn stop_attaching(&mut self, context: &mut Context) -> bool {
        context.timers.stop(CallTimer::Reattach);
        let leg = self.attaching.take();
        if let Some(leg) = leg {
            let call = context.ids.call;
            context.worker(worker::Command::CloseLeg { call, leg });
        }
        leg.is_some()
    }

    /// Whether the call has let go of this leg, or is about to: a reload leaves legs behind, and nothing that befalls
    /// them is the call's end.
    pub(super) fn was_let_go(&self, leg: Option<LegId>, context: &Context) -> bool {
        let agent = self.attaching.is_none().then_some(context.ids.agent_leg);
        leg.is_some_and(|leg| leg != context.ids.trunk_leg && Some(leg) != agent)
    }
}
