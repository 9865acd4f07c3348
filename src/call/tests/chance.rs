//! Calls that are told anything in any order still keep their promises.

use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::OFFER;
use super::Stage;
use crate::call::Cause;
use crate::call::Input;
use crate::call::Output;
use crate::call::Partner;
use crate::call::PartnerWord;
use crate::call::TransferMethod;
use crate::ids::CallId;
use crate::ids::LegId;
use crate::ids::SignalingId;
use crate::recording;
use crate::recording::Obligation;
use crate::signaling::CallRequest;
use crate::sip;
use crate::sip::EndCause;
use crate::sip::Invitation;
use crate::sip::ReferTo;
use crate::sip::StatusCode;
use crate::worker;

fn obligation() -> impl Strategy<Value = Obligation> {
    prop_oneof![Just(Obligation::Required), Just(Obligation::BestEffort), Just(Obligation::Never)]
}

fn request(choice: u8) -> CallRequest {
    match choice % 12 {
        0 => CallRequest::Alerting,
        1 => CallRequest::Transport { sdp: "answer".into() },
        2 => CallRequest::Accept,
        3 => CallRequest::Reject,
        4 => CallRequest::Hangup,
        5 => CallRequest::Mute { muted: true },
        6 => CallRequest::Dtmf { digits: "1".into() },
        7 => CallRequest::Hold,
        8 => CallRequest::Resume,
        9 => CallRequest::Transfer { to: "601".into() },
        10 => CallRequest::TransferTo { consult: super::ids().call },
        _ => CallRequest::Dial { to: "600".into() },
    }
}

/// One thing that may happen to a call, by number.
fn happen(stage: &mut Stage, choice: u8) {
    let (leg, agent) = (stage.ids.trunk_leg, stage.ids.agent_leg);
    match choice % 45 {
        0..=7 => stage.ask(request(choice)),
        24..=27 => stage.ask(request(choice - 24 + 7)),
        28 => stage.sip(sip::Event::Renegotiated { leg, sdp: OFFER.into() }),
        29 => stage.sip(sip::Event::RenegotiationFailed { leg, status: StatusCode::NOT_ACCEPTABLE_HERE }),
        30 => refer(stage),
        31 => stage.sip(sip::Event::ReferProgressed { leg, status: StatusCode::OK, is_refused: false, is_over: true }),
        32 => stage.sip(sip::Event::Accepted { leg: spare(), sdp: Some(OFFER.into()) }),
        33 => stage.worker(spare(), worker::EventKind::TrunkBound { local: ([127, 0, 0, 1], 20_020).into() }),
        34 => replace(stage),
        36 => partner_says(stage, PartnerWord::Join),
        37 => partner_says(stage, PartnerWord::Launched),
        38 => partner_says(stage, PartnerWord::Joined),
        39 => partner_says(stage, PartnerWord::Gone(Cause::Hangup)),
        40 => stage.worker(leg, worker::EventKind::TapStopped { tap: stage.ids.tap }),
        41 => reload(stage),
        42 => stage.worker(reloaded(), worker::EventKind::PeerOffered { sdp: "offer".into() }),
        43 => stage.worker(reloaded(), worker::EventKind::PeerConnected),
        44 => stage.sip(sip::Event::RenegotiationOvertaken { leg }),
        35 => stage.sip(sip::Event::Ended { leg: spare(), cause: EndCause::PeerBye, reason: None }),
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

fn spare() -> LegId {
    LegId::generate(3, &mut StdRng::seed_from_u64(77))
}

/// The leg of a page that was reloaded.
fn reloaded() -> LegId {
    LegId::generate(6, &mut StdRng::seed_from_u64(80))
}

/// Whoever has the call, or rings first, reloads their page.
fn reload(stage: &mut Stage) {
    let Some((from, _)) = stage.call.standing().audience.first().cloned() else { return };
    let session = SignalingId::generate(stage.requests(), &mut StdRng::seed_from_u64(81));
    stage.tell(Input::Reattached { from, session, leg: reloaded() });
}

fn refer(stage: &mut Stage) {
    let leg = stage.ids.trunk_leg;
    stage.tell(Input::SpareLeg(spare()));
    stage.sip(sip::Event::Referred {
        leg,
        to: ReferTo { user: "601".into(), replaces: None, replaces_header: None, referred_by: None },
    });
}

fn partner_says(stage: &mut Stage, word: PartnerWord) {
    let call = CallId::generate(5, &mut StdRng::seed_from_u64(79));
    stage.tell(Input::Partner { from: Partner { call, worker: 0 }, word });
}

/// One INVITE has one name: it comes once.
fn replace(stage: &mut Stage) {
    if !stage.replaced {
        stage.replaced = true;
        let invitation = Invitation { leg: replacing(), ..super::invitation(Some(OFFER)) };
        stage.sip(sip::Event::Invited(Box::new(invitation)));
        stage.worker(replacing(), worker::EventKind::TrunkBound { local: ([127, 0, 0, 1], 20_030).into() });
    }
}

fn replacing() -> LegId {
    LegId::generate(4, &mut StdRng::seed_from_u64(78))
}

fn final_responses(stage: &Stage, to: LegId) -> usize {
    let is_final = |command: &&&sip::Command| match command {
        sip::Command::Accept { leg, .. } | sip::Command::Refuse { leg, .. } => *leg == to,
        _ => false,
    };
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
        bridges: bool,
        choices in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let transfer = if bridges { TransferMethod::Bridge } else { TransferMethod::ReferThenBridge };
        let mut stage = Stage::of_chance(outbound, obligation, transfer);
        for choice in choices {
            happen(&mut stage, choice);
        }
        // Its last input, and then only time.
        stage.tell(Input::Shutdown);
        stage.pass(Duration::from_mins(1));

        prop_assert!(stage.ended_as().is_some(), "still {}", stage.call.phase_name());
        prop_assert!(stage.call.poll_timeout().is_none());
        prop_assert!(final_responses(&stage, stage.ids.trunk_leg) <= 1, "more than one final response");
        prop_assert_eq!(final_responses(&stage, replacing()), usize::from(stage.replaced), "the INVITE with Replaces");
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
