//! Keys: the agent's and a partner's leave on the trunk as it takes them; the trunk's by INFO reach whoever is there.

use std::time::Instant;

use super::Established;
use crate::call::CallTimer;
use crate::call::DtmfMethod;
use crate::call::PartnerWord;
use crate::call::context::Context;
use crate::call::digits;
use crate::limits::DTMF_INFO_INTERVAL;
use crate::limits::DTMF_QUEUE_MAX;
use crate::signaling::RequestToken;
use crate::sip;
use crate::worker;
use crate::worker::DtmfDigit;

impl Established {
    /// All digits or none: a half-sent PIN is worse than a refused one.
    pub(super) fn send_dtmf(&mut self, token: RequestToken, digits: &str, context: &mut Context, now: Instant) {
        let parsed: Option<Vec<DtmfDigit>> = digits.chars().map(DtmfDigit::from_char).collect();
        let Some(digits) = parsed.filter(|digits| !digits.is_empty()) else {
            return context.deny(token, "call.bad_digits", "digits are 0-9, *, # and A-D");
        };
        if self.queue_digits(digits, context, now) {
            context.grant(token);
        } else {
            context.deny(token, "session.busy", "too many digits wait to be sent");
        }
    }

    /// Sends digits to the trunk as it takes them; `false` where too many wait already.
    pub(super) fn queue_digits(&mut self, digits: Vec<DtmfDigit>, context: &mut Context, now: Instant) -> bool {
        match context.trunk.dtmf {
            DtmfMethod::Rfc4733 => {
                let (call, leg) = (context.ids.call, context.ids.trunk_leg);
                context.worker(worker::Command::SendDtmf { call, leg, digits });
            }
            DtmfMethod::Info if self.digits.len() + digits.len() > DTMF_QUEUE_MAX => return false,
            DtmfMethod::Info => {
                self.digits.extend(digits);
                if !context.timers.is_running(CallTimer::Digit) {
                    self.send_next_digit(context, now);
                }
            }
        }
        true
    }

    /// One INFO at a time, as apart as digits of a keypad: overtaking each other they would be another number.
    pub(super) fn send_next_digit(&mut self, context: &mut Context, now: Instant) {
        let Some(digit) = self.digits.pop_front() else { return };
        let leg = context.ids.trunk_leg;
        context.sip(sip::Command::Info { leg, body: digits::relay(digit) });
        context.start_timer(CallTimer::Digit, DTMF_INFO_INTERVAL, now);
    }
}

/// A digit that the trunk sent by INFO reaches the browser as an event, as those do that come by RTP, or the partner's
/// party.
pub(super) fn press(digit: Option<DtmfDigit>, context: &mut Context) {
    let Some(digit) = digit else { return };
    if context.partner.is_some() {
        return context.tell_partner(PartnerWord::Pressed(digit));
    }
    let (call, leg) = (context.ids.call, context.ids.agent_leg);
    context.worker(worker::Command::SendDtmf { call, leg, digits: vec![digit] });
}
