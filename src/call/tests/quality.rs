//! How good a call was: in its record, and on the page.

use super::Stage;
use crate::call::CallQuality;
use crate::call::Output;
use crate::ids::LegId;
use crate::signaling::CallRequest;
use crate::signaling::Notification;
use crate::worker::EventKind;
use crate::worker::LegQuality;
use crate::worker::LegStats;
use crate::worker::StreamQuality;

fn tell(stage: &mut Stage, leg: LegId, loss: Option<f32>) {
    let received = loss.map(|loss| StreamQuality::of(loss, 2.0, Some(20.0)));
    let quality = LegQuality { received, sent: None };
    stage.worker(leg, EventKind::Stats(LegStats { quality, ..LegStats::default() }));
}

fn kept(stage: &Stage) -> Option<CallQuality> {
    let record = |output: &Output| if let Output::Record(record) = output { Some(record.quality) } else { None };
    stage.outputs.iter().rev().find_map(record).flatten()
}

#[test]
fn the_record_has_how_both_legs_were_also_what_comes_with_the_end() {
    let mut stage = Stage::talking_at(|_| {});
    let (agent, trunk) = (stage.ids.agent_leg, stage.ids.trunk_leg);
    tell(&mut stage, agent, Some(0.0));
    tell(&mut stage, trunk, Some(0.0));
    tell(&mut stage, trunk, Some(0.5));
    stage.ask(CallRequest::Hangup);
    tell(&mut stage, trunk, Some(0.1));
    stage.worker(agent, EventKind::Closed);
    let quality = kept(&stage).unwrap();
    let (agent, trunk) = (quality.agent.received.unwrap(), quality.trunk.received.unwrap());
    assert_eq!((agent.stretches, trunk.stretches), (1, 3));
    assert!((trunk.loss - 0.2).abs() < 1e-6 && trunk.mos_min < 2.0, "{trunk:?}");
}

#[test]
fn a_call_of_which_nothing_was_heard_has_no_quality() {
    let mut stage = Stage::talking_at(|_| {});
    let trunk = stage.ids.trunk_leg;
    tell(&mut stage, trunk, None);
    stage.ask(CallRequest::Hangup);
    assert_eq!(kept(&stage), None);
}

#[test]
fn the_page_hears_how_its_own_sound_arrives() {
    let mut stage = Stage::talking_at(|_| {});
    let (agent, trunk) = (stage.ids.agent_leg, stage.ids.trunk_leg);
    tell(&mut stage, trunk, Some(0.5));
    assert!(!stage.notified(|n| matches!(n, Notification::Quality { .. })));
    tell(&mut stage, agent, Some(0.25));
    let is_it = |n: &Notification| matches!(n, Notification::Quality { quality, .. } if (quality.loss - 0.25).abs() < 1e-6 && quality.mos.is_some_and(|mos| mos < 3.0));
    assert!(stage.notified(is_it));
}
