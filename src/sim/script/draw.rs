//! How a script is drawn from a seed's generator.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::call::{DtmfMethod, HoldStyle, TransferMethod};
use crate::recording::{CallDirection, Obligation};
use crate::sim::script::{
    BrowserScript, CallScript, Chatter, Decision, Deed, Lifetime, Luck, MediaScript, PeerScript, Reliability, Script,
    Shape, TransferScript, Trouble,
};
use crate::sim::wire::Weather;

/// Calls of one world at most.
const CALLS_MAX: usize = 3;
/// Agents of a group.
const GROUP_MAX: usize = 3;

impl Script {
    /// The script of a seed's generator.
    pub fn draw(rng: &mut StdRng) -> Self {
        let rough = rng.random_bool(0.4);
        let weather = Weather {
            loss: if rough { rng.random_range(0.0..0.05) } else { 0.0 },
            duplication: if rough { rng.random_range(0.0..0.2) } else { 0.0 },
            delay_ms_max: if rough { rng.random_range(2..300) } else { rng.random_range(1..20) },
        };
        let mut calls: Vec<_> = (0..rng.random_range(1..=CALLS_MAX)).map(|_| CallScript::draw(rng)).collect();
        let shutdown = rng.random_bool(0.05).then(|| within(rng, 40_000));
        let calls_max = rng.random_bool(0.1).then(|| rng.random_range(1..CALLS_MAX));
        // From a generator beside: whatever else a seed draws stays as it was.
        let mut beside = rng.clone();
        for page in calls.iter_mut().flat_map(|call: &mut CallScript| &mut call.browsers) {
            let count = one_of(&mut beside, &[0, 0, 0, 0, 0, 0, 1, 1, 1, 2]);
            page.reloads = (0..count).map(|_| within(&mut beside, 40_000)).collect();
        }
        Self { weather, calls, shutdown, calls_max }
    }
}

impl CallScript {
    /// The script of one call.
    pub fn draw(rng: &mut StdRng) -> Self {
        let inbound = rng.random_bool(0.6);
        let mut peer = PeerScript::draw(rng);
        let members = if inbound && rng.random_bool(0.15) { rng.random_range(2..=GROUP_MAX) } else { 1 };
        let browsers: Vec<_> = (0..members).map(|_| BrowserScript::draw(rng)).collect();
        // The caller gives up at about the moment when somebody accepts.
        if let Some(accepted) = browsers.first().filter(|_| rng.random_bool(0.15)) {
            peer.cancels = Some(accepted.decision.0 + within(rng, 60));
        }
        Self {
            direction: if inbound { CallDirection::Inbound } else { CallDirection::Outbound },
            begins: within(rng, 5_000),
            obligation: one_of(rng, &[Obligation::Required, Obligation::BestEffort, Obligation::Never]),
            hold_style: one_of(rng, &[HoldStyle::Local, HoldStyle::SendOnly, HoldStyle::Inactive]),
            dtmf: one_of(rng, &[DtmfMethod::Rfc4733, DtmfMethod::Info]),
            peer,
            target: PeerScript { vanishes: None, ..PeerScript::draw(rng) },
            replaced: rng.random_bool(0.05).then(|| within(rng, 15_000)),
            browsers,
            one_by_one: rng.random_bool(0.3),
            media: MediaScript::draw(rng),
            transfer: one_of(
                rng,
                &[
                    TransferMethod::Refer,
                    TransferMethod::Bridge,
                    TransferMethod::Bridge,
                    TransferMethod::ReferThenBridge,
                ],
            ),
            records_after_transfer: rng.random_bool(0.5),
        }
    }
}

impl PeerScript {
    fn draw(rng: &mut StdRng) -> Self {
        let provisionals = (0..rng.random_range(0..3_u8))
            .map(|_| (within(rng, 8_000), one_of(rng, &[100, 180, 180, 183, 183]), rng.random_bool(0.5)))
            .collect();
        let status = one_of(rng, &[200, 200, 200, 200, 200, 200, 302, 404, 480, 486, 488, 503, 500, 603]);
        Self {
            offer: rng.random_bool(0.85).then(|| usual_shape(rng)),
            cancels: rng.random_bool(0.25).then(|| within(rng, 12_000)),
            acks_lost: if rng.random_bool(0.15) { rng.random_range(1..12) } else { 0 },
            answer: rng.random_bool(0.95).then(|| usual_shape(rng)),
            provisionals,
            verdict: rng.random_bool(0.9).then(|| (within(rng, 12_000), status)),
            answers_late: rng.random_bool(0.3),
            deeds: (0..rng.random_range(0..5_u8)).map(|_| (within(rng, 20_000), deed(rng))).collect(),
            vanishes: rng.random_bool(0.04).then(|| within(rng, 30_000)),
            reliability: one_of(
                rng,
                &[Reliability::Unknown, Reliability::Supported, Reliability::Supported, Reliability::Required],
            ),
            prack: rng.random_bool(0.95).then(|| within(rng, 1_500)),
            reliable: rng.random_bool(0.4),
            lifetime: rng.random_bool(0.25).then(|| Lifetime::draw(rng)),
            forks: rng.random_bool(0.08),
            glares: rng.random_bool(0.3),
            ghost: rng.random_bool(0.1).then(|| within(rng, 50_000)),
            leaves: rng.random_bool(0.7).then(|| within(rng, 8_000)),
            transfer: TransferScript::draw(rng),
        }
    }
}

impl Lifetime {
    fn draw(rng: &mut StdRng) -> Self {
        let expires_s = one_of(rng, &[90, 90, 120, 1_800]);
        Self { expires_s, by_gateway: rng.random_bool(0.5), kept: rng.random_bool(0.7) }
    }
}

impl TransferScript {
    fn draw(rng: &mut StdRng) -> Self {
        let status = one_of(rng, &[200, 200, 200, 404, 486, 503]);
        Self {
            taken: rng.random_bool(0.85),
            result: rng.random_bool(0.85).then(|| (within(rng, 10_000), status)),
            says_bye: rng.random_bool(0.5),
        }
    }
}

impl BrowserScript {
    fn draw(rng: &mut StdRng) -> Self {
        let decision = one_of(
            rng,
            &[
                Decision::Accept,
                Decision::Accept,
                Decision::Accept,
                Decision::Accept,
                Decision::Reject,
                Decision::Ignore,
            ],
        );
        let chatter = (0..rng.random_range(0..5_u8)).map(|_| (within(rng, 25_000), chatter(rng))).collect();
        Self {
            alerting: rng.random_bool(0.95).then(|| within(rng, 500)),
            transport: rng.random_bool(0.95).then(|| within(rng, 1_500)),
            decision: (within(rng, 12_000), decision),
            hangs_up: rng.random_bool(0.5).then(|| within(rng, 30_000)),
            vanishes: rng.random_bool(0.05).then(|| within(rng, 30_000)),
            reloads: Vec::new(),
            chatter,
        }
    }
}

impl MediaScript {
    fn draw(rng: &mut StdRng) -> Self {
        let troubles = [Trouble::Silence, Trouble::PathLost, Trouble::TapOverflow, Trouble::RecorderFails];
        Self {
            offer: luck(rng),
            bind: luck(rng),
            connect: luck(rng),
            record: luck(rng),
            seal: luck(rng),
            delay_ms_max: one_of(rng, &[1, 10, 200, 2_000]),
            trouble: rng.random_bool(0.1).then(|| (within(rng, 15_000), one_of(rng, &troubles))),
        }
    }
}

fn luck(rng: &mut StdRng) -> Luck {
    if rng.random_bool(0.97) { Luck::Works } else { one_of(rng, &[Luck::Fails, Luck::Hangs]) }
}

fn usual_shape(rng: &mut StdRng) -> Shape {
    if rng.random_bool(0.7) { Shape::Plain } else { shape(rng) }
}

fn shape(rng: &mut StdRng) -> Shape {
    let shapes = [
        Shape::Plain,
        Shape::Alaw,
        Shape::Moved,
        Shape::SendOnly,
        Shape::Inactive,
        Shape::NoAddress,
        Shape::Foreign,
        Shape::Garbage,
    ];
    one_of(rng, &shapes)
}

fn deed(rng: &mut StdRng) -> Deed {
    match rng.random_range(0..16_u8) {
        0..=2 => Deed::Bye,
        3..=6 => Deed::Reinvite(Some(shape(rng))),
        7 => Deed::Reinvite(None),
        8 => Deed::Options,
        9 => Deed::Unknown,
        10..=11 => Deed::Update(Some(shape(rng))),
        12 => Deed::Update(None),
        13 => Deed::Info,
        _ => Deed::Refer,
    }
}

fn chatter(rng: &mut StdRng) -> Chatter {
    match rng.random_range(0..16_u8) {
        0 => Chatter::Mute,
        1..=2 => Chatter::Digits,
        3 => Chatter::Accept,
        4 => Chatter::Transport,
        5 => Chatter::Alerting,
        6..=9 => Chatter::Hold,
        10..=12 => Chatter::Resume,
        13..=14 => Chatter::Transfer,
        _ => Chatter::Consult,
    }
}

fn within(rng: &mut StdRng, ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(0..ms))
}

/// One of a list that is not empty.
fn one_of<T: Copy, const N: usize>(rng: &mut StdRng, choices: &[T; N]) -> T {
    let at = rng.random_range(0..N);
    #[expect(clippy::indexing_slicing, reason = "the index is drawn from the array's own range")]
    choices[at]
}
