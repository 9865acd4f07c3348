//! Calls that are told anything in any order still keep their promises.

use std::time::Duration;

use proptest::prelude::*;

use super::OFFER;
use super::Stage;
use crate::call::Input;
use crate::call::Output;
use crate::recording;
use crate::recording::Obligation;
use crate::signaling::CallRequest;
use crate::sip;
use crate::sip::EndCause;
use crate::sip::StatusCode;
use crate::worker;

fn obligation() -> impl Strategy<Value = Obligation> {
    prop_oneof![Just(Obligation::Required), Just(Obligation::BestEffort), Just(Obligation::Never)]
}

fn request(choice: u8) -> CallRequest {
    match choice % 8 {
        0 => CallRequest::Alerting,
        1 => CallRequest::Transport { sdp: "answer".into() },
        2 => CallRequest::Accept,
        3 => CallRequest::Reject,
        4 => CallRequest::Hangup,
        5 => CallRequest::Mute { muted: true },
        6 => CallRequest::Dtmf { digits: "1".into() },
        _ => CallRequest::Dial { to: "600".into() },
    }
}

/// One thing that may happen to a call, by number.
fn happen(stage: &mut Stage, choice: u8) {
    let (leg, agent) = (stage.ids.trunk_leg, stage.ids.agent_leg);
    match choice % 24 {
        0..=7 => stage.ask(request(choice)),
        8 => stage.legs_made(),
        9 => stage.peer_connected(),
        10 => stage.recorder_says(recording::EventKind::Recording),
        11 => stage.recorder_says(recording::EventKind::Failed { reason: "x".into() }),
        12 => stage.recorder_says(recording::EventKind::Sealed { samples: 1 }),
        13 => stage.worker(agent, worker::EventKind::Closed),
        14 => stage.worker(agent, worker::EventKind::LegFailed { reason: worker::LegFailure::IceFailed }),
        15 => stage.sip(sip::Event::Cancelled { leg, reason: None }),
        16 => stage.sip(sip::Event::Acknowledged { leg, sdp: None }),
        17 => stage.sip(sip::Event::Ended { leg, cause: EndCause::PeerBye, reason: None }),
        18 => stage.sip(sip::Event::Accepted { leg, sdp: Some(OFFER.into()) }),
        19 => stage.sip(sip::Event::Refused {
            leg,
            status: StatusCode::NOT_ACCEPTABLE_HERE,
            reason: None,
            redirect: Vec::new(),
            retry_after: None,
        }),
        20 => stage.sip(sip::Event::Reinvited { leg, offer: Some(OFFER.into()) }),
        21 => stage.sip(sip::Event::Reinvited { leg, offer: None }),
        22 => stage.pass(Duration::from_millis(700)),
        _ => stage.pass(Duration::from_secs(6)),
    }
}

fn final_responses(stage: &Stage) -> usize {
    let is_final =
        |command: &&&sip::Command| matches!(command, sip::Command::Accept { .. } | sip::Command::Refuse { .. });
    stage.sip_commands().iter().filter(is_final).count()
}

fn audio_before_recording(stage: &Stage) -> bool {
    let mut recording = false;
    for output in &stage.outputs {
        match output {
            Output::Worker(worker::Command::StartTap { .. }) => recording = true,
            Output::Worker(worker::Command::SetGate { gate, .. }) if (gate.to_agent || gate.to_trunk) && !recording => {
                return true;
            }
            _ => {}
        }
    }
    false
}

proptest! {
    #[test]
    fn every_promise_is_kept_whatever_happens(
        outbound: bool,
        obligation in obligation(),
        choices in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut stage =
            if outbound { Stage::outbound(obligation) } else { Stage::inbound(obligation, Some(OFFER)) };
        for choice in choices {
            happen(&mut stage, choice);
        }
        // Its last input, and then only time.
        stage.tell(Input::Shutdown);
        stage.pass(Duration::from_mins(1));

        prop_assert!(stage.ended_as().is_some(), "still {}", stage.call.phase_name());
        prop_assert!(stage.call.poll_timeout().is_none());
        prop_assert!(final_responses(&stage) <= 1, "more than one final response");
        let mut replies: Vec<u64> = stage.replies().into_iter().map(|(token, _)| token).collect();
        replies.sort_unstable();
        prop_assert_eq!(replies, (1..=stage.requests()).collect::<Vec<_>>(), "each request gets one reply");
        if obligation == Obligation::Required {
            prop_assert!(!audio_before_recording(&stage), "audio crossed before the recorder said Recording");
        }
        let closed = |command: &worker::Command| matches!(command, worker::Command::Close { .. });
        prop_assert!(stage.worker_got(closed), "the worker's session was left open");
    }
}
