//! The one table from a cause to what each side is told.
//!
//! Status codes are RFC 3261 21's, causes ITU-T Q.850's, and the mapping follows RFC 3398 where it has one.

use std::time::Duration;

use crate::ids::CallId;
use crate::signaling::Notification;
use crate::sip;
use crate::sip::Reason;
use crate::sip::Refusal;
use crate::sip::StatusCode;

/// Why a call was refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// One side hung up after the answer.
    Hangup,
    /// The caller gave up before the answer.
    Cancelled,
    /// The caller gave up because somebody else answered.
    AnsweredElsewhere,
    /// The number called is not one of ours.
    UnknownExtension,
    /// The agent is not logged in, or is wrapping up.
    AgentUnavailable,
    /// The agent is busy, or has as many calls as allowed.
    AgentBusy,
    /// The agent refused the call.
    Rejected,
    /// The agent let it ring for too long.
    NoAnswer,
    /// The agent's device did not react to the call.
    DeviceSilent,
    /// Nobody of a ring group took the call.
    GroupExhausted,
    /// The agent transferred the call.
    Transferred,
    /// The browser's transport did not come up.
    TransportFailed,
    /// Offer and answer have no codec in common, or the description cannot be used.
    NotAcceptable,
    /// A required recording cannot be made.
    RecordingFailed,
    /// No port, no worker, or another bound is reached.
    Overloaded,
    /// The gateway is shutting down.
    Draining,
    /// No RTP arrived for too long.
    MediaTimeout,
    /// The agent's browser did not come back in time.
    AgentVanished,
    /// The peer lost the dialog, or never acknowledged the answer.
    PeerLost,
    /// A joined call, which has no agent, reached its bound.
    TimeLimit,
    /// The trunk refused the call that the agent dialled.
    TrunkRefused(u16),
}

/// One row of the table.
struct Row {
    /// SIP status where the INVITE is still open.
    sip: u16,
    /// Q.850 cause.
    q850: u8,
    /// Stable word: for signalling, the call record and metrics.
    word: &'static str,
}

const fn row(sip: u16, q850: u8, word: &'static str) -> Row {
    Row { sip, q850, word }
}

impl Cause {
    const fn row(self) -> Row {
        match self {
            Self::Hangup => row(480, 16, "hangup"),
            Self::Cancelled => row(487, 31, "cancelled"),
            Self::AnsweredElsewhere => row(487, 26, "answered_elsewhere"),
            Self::UnknownExtension => row(404, 1, "unknown_extension"),
            Self::AgentUnavailable => row(480, 20, "agent_unavailable"),
            Self::AgentBusy => row(486, 17, "busy"),
            Self::Rejected => row(486, 21, "rejected"),
            Self::NoAnswer => row(480, 19, "no_answer"),
            Self::DeviceSilent => row(480, 18, "device_silent"),
            Self::GroupExhausted => row(480, 19, "group_exhausted"),
            Self::Transferred => row(480, 16, "transferred"),
            Self::TransportFailed => row(480, 27, "transport_failed"),
            Self::NotAcceptable => row(488, 88, "not_acceptable"),
            Self::RecordingFailed => row(503, 41, "recording_failed"),
            Self::Overloaded => row(503, 42, "overloaded"),
            Self::Draining => row(503, 42, "draining"),
            Self::MediaTimeout => row(480, 41, "media_timeout"),
            Self::AgentVanished => row(480, 27, "agent_vanished"),
            Self::PeerLost => row(480, 41, "peer_lost"),
            Self::TimeLimit => row(480, 102, "time_limit"),
            Self::TrunkRefused(status) => refused_by_trunk(status),
        }
    }

    /// The stable word of this cause, as `call.ended`, the record and the metrics have it.
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// The status of an INVITE refused for this cause.
    pub const fn sip_status(self) -> u16 {
        self.row().sip
    }

    /// The Q.850 cause.
    pub const fn q850(self) -> u8 {
        self.row().q850
    }

    /// The Reason header (RFC 3326) of a BYE, CANCEL or refusal.
    pub fn reason(self) -> Reason {
        Reason { protocol: "Q.850".to_owned(), cause: Some(u16::from(self.q850())), text: Some(self.word().to_owned()) }
    }

    /// What it means when the trunk's usage ends before our final response, if this event says that it did.
    ///
    /// A caller who gave up because another fork answered has not been missed (RFC 3326 2: SIP 200, or Q.850 cause 26).
    pub fn of_giving_up(event: &sip::Event) -> Option<Self> {
        match event {
            sip::Event::Cancelled { reason, .. } | sip::Event::Ended { reason, .. } => {
                let elsewhere = reason.as_ref().is_some_and(|reason| {
                    let protocol = reason.protocol.to_ascii_uppercase();
                    matches!((protocol.as_str(), reason.cause), ("SIP", Some(200)) | ("Q.850", Some(26)))
                });
                Some(if elsewhere { Self::AnsweredElsewhere } else { Self::Cancelled })
            }
            sip::Event::Invited(_)
            | sip::Event::Acknowledged { .. }
            | sip::Event::Progressed { .. }
            | sip::Event::Accepted { .. }
            | sip::Event::Refused { .. }
            | sip::Event::Reinvited { .. }
            | sip::Event::Renegotiated { .. }
            | sip::Event::RenegotiationFailed { .. }
            | sip::Event::RenegotiationOvertaken { .. }
            | sip::Event::Referred { .. }
            | sip::Event::ReferProgressed { .. }
            | sip::Event::InfoReceived { .. } => None,
        }
    }

    /// What a browser is told that rings no longer, though the call may go on elsewhere.
    pub fn ended(self, call: CallId) -> Notification {
        let (reason, sip_code, q850) = (self.word().to_owned(), Some(self.sip_status()), Some(self.q850()));
        Notification::Ended { call, reason, sip_code, q850 }
    }

    /// The refusal of an INVITE. A 503 asks the peer to come back after `retry_after`.
    pub fn refusal(self, retry_after: Duration) -> Refusal {
        let status = StatusCode::new(self.sip_status()).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
        let retry_after = (self.sip_status() == 503).then_some(retry_after);
        Refusal { reason: Some(self.reason()), retry_after, ..Refusal::new(status) }
    }
}

/// What a trunk's refusal means to the agent (RFC 3398 8.2.6.1, the common rows).
const fn refused_by_trunk(status: u16) -> Row {
    match status {
        404 | 410 => row(status, 1, "unknown_number"),
        403 | 401 | 407 | 603 => row(status, 21, "rejected"),
        486 | 600 => row(status, 17, "busy"),
        480 | 408 => row(status, 19, "no_answer"),
        487 => row(status, 31, "cancelled"),
        484 => row(status, 28, "incomplete_number"),
        488 | 606 | 415 => row(status, 88, "not_acceptable"),
        500 | 502 | 503 | 504 => row(status, 38, "trunk_unavailable"),
        _ => row(status, 127, "refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Cause; 19] = [
        Cause::Hangup,
        Cause::Cancelled,
        Cause::AnsweredElsewhere,
        Cause::UnknownExtension,
        Cause::AgentUnavailable,
        Cause::AgentBusy,
        Cause::Rejected,
        Cause::NoAnswer,
        Cause::DeviceSilent,
        Cause::GroupExhausted,
        Cause::Transferred,
        Cause::TransportFailed,
        Cause::NotAcceptable,
        Cause::RecordingFailed,
        Cause::Overloaded,
        Cause::Draining,
        Cause::MediaTimeout,
        Cause::AgentVanished,
        Cause::PeerLost,
    ];

    #[test]
    fn no_cause_ends_every_fork_of_a_pbx_with_6xx() {
        for cause in ALL {
            assert!((400..600).contains(&cause.sip_status()), "{cause:?}");
            assert!((1..=127).contains(&cause.q850()), "{cause:?}");
        }
    }

    #[test]
    fn the_table_is_the_committed_one() {
        let rows: Vec<String> =
            ALL.iter().map(|cause| format!("{}\t{}\t{}\n", cause.word(), cause.sip_status(), cause.q850())).collect();
        let table = rows.concat();
        assert_eq!(table, include_str!("../../tests/golden/causes.tsv"));
    }

    #[test]
    fn only_503_asks_to_come_back() {
        let wait = Duration::from_secs(30);
        assert_eq!(Cause::Draining.refusal(wait).retry_after, Some(wait));
        assert_eq!(Cause::AgentBusy.refusal(wait).retry_after, None);
    }

    #[test]
    fn a_trunks_refusal_keeps_its_status() {
        assert_eq!(Cause::TrunkRefused(486).word(), "busy");
        assert_eq!(Cause::TrunkRefused(486).sip_status(), 486);
        assert_eq!(Cause::TrunkRefused(599).word(), "refused");
    }
}
