//! A scripted media plane and recorder: the worker's and the recorder's words, without a packet.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::ids::{CallId, LegId};
use crate::recording;
use crate::sim::agenda::Agenda;
use crate::sim::script::{Luck, MediaScript, Trouble};
use crate::worker;
use crate::worker::{Gate, LegFailure, TapId};

/// What the call is told.
#[derive(Debug, Clone)]
pub enum Word {
    /// By its worker.
    Worker(worker::Event),
    /// By the recorder.
    Recorder(recording::EventKind),
}

/// What was seen of a call's media.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was seen or not")]
pub struct Book {
    /// A worker's session was made.
    pub opened: bool,
    /// It was ended.
    pub closed: bool,
    /// Audio could cross.
    pub gate_opened: bool,
    /// Audio could cross both ways.
    pub talked: bool,
    /// Audio could cross before the recorder said Recording.
    pub crossed_unrecorded: bool,
    /// The recorder was asked to begin.
    pub recordings_begun: u32,
    /// It was asked to end.
    pub recordings_ended: u32,
    /// The hold music plays to the trunk.
    pub music: bool,
    /// What the trunk leg that was connected last may send, and take.
    pub trunk: Option<(LegId, bool, bool)>,
    /// Keys that a browser leg was sent.
    pub keys_to_agent: usize,
    /// The browsers' legs.
    pub legs_of_agents: BTreeSet<LegId>,
    /// The leg of a page that was reloaded in the call, until it is joined.
    pub away: Option<LegId>,
    /// Its transport is up.
    pub is_back: bool,
    /// What may cross.
    pub gate: Gate,
    /// Commands that make no sense.
    pub strange: Vec<&'static str>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Media {
    script: MediaScript,
    rng: StdRng,
    agenda: Agenda<Word>,
    book: Book,
    recording: bool,
    tap: Option<TapId>,
    trouble_entered: bool,
}

impl Media {
    /// A media plane that has not been asked anything.
    pub fn new(script: MediaScript, rng: StdRng) -> Self {
        Self {
            script,
            rng,
            agenda: Agenda::default(),
            book: Book::default(),
            recording: false,
            tap: None,
            trouble_entered: false,
        }
    }

    /// What was seen.
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Whether it makes an offer for each browser leg that is asked for.
    pub fn offers(&self) -> bool {
        self.script.offer == Luck::Works
    }

    /// When the next word is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.agenda.next_at()
    }

    /// A word that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<Word> {
        while let Some(word) = self.agenda.pop_due(now) {
            match &word {
                Word::Recorder(kind) => self.recording = *kind == recording::EventKind::Recording,
                // A session that is closed says nothing more but that.
                Word::Worker(event) if self.book.closed && !matches!(event.kind, worker::EventKind::Closed) => continue,
                Word::Worker(event) => {
                    let is_up = matches!(event.kind, worker::EventKind::PeerConnected);
                    self.book.is_back |= is_up && event.leg.is_some() && event.leg == self.book.away;
                }
            }
            return Some(word);
        }
        None
    }

    /// Takes a command for the worker.
    pub fn command(&mut self, command: &worker::Command, now: Instant) {
        if self.book.closed {
            if !matches!(command, worker::Command::Close { .. }) {
                self.book.strange.push("a command for a session that is closed");
            }
            return;
        }
        match command {
            worker::Command::OfferPeer { call, leg } => {
                self.book.opened = true;
                if self.book.talked {
                    self.book.away = Some(*leg);
                    self.book.is_back = false;
                }
                self.book.legs_of_agents.insert(*leg);
                let sdp = "offer".to_owned();
                self.answer(self.script.offer, (*call, *leg), worker::EventKind::PeerOffered { sdp }, now);
            }
            worker::Command::BindTrunk { call, leg, .. } => {
                let local = SocketAddr::from(([192, 0, 2, 1], 40_000));
                self.answer(self.script.bind, (*call, *leg), worker::EventKind::TrunkBound { local }, now);
            }
            worker::Command::AcceptPeerAnswer { call, leg, .. } => {
                self.answer(self.script.connect, (*call, *leg), worker::EventKind::PeerConnected, now);
            }
            worker::Command::ConnectTrunk { leg, media, .. } => {
                self.book.trunk = Some((*leg, media.send, media.receive));
            }
            worker::Command::CloseLeg { leg, .. } => {
                self.book.trunk = self.book.trunk.filter(|(connected, ..)| connected != leg);
                self.book.away = self.book.away.filter(|away| away != leg);
            }
            worker::Command::SetMuted { leg, .. } if self.book.away == Some(*leg) => {
                self.book.away = None;
                self.book.is_back = false;
            }
            worker::Command::PlayHold { on, .. } => self.book.music = *on,
            worker::Command::SendDtmf { leg, digits, .. } if self.book.legs_of_agents.contains(leg) => {
                self.book.keys_to_agent += digits.len();
            }
            worker::Command::SetGate { call, gate } => self.gate(*call, *gate, now),
            worker::Command::StartTap { tap, .. } => self.tap = Some(*tap),
            worker::Command::StopTap { call, tap } => {
                self.tap = self.tap.filter(|running| running != tap);
                let kind = worker::EventKind::TapStopped { tap: *tap };
                self.say(Word::Worker(worker::Event { call: *call, leg: None, kind }), now);
            }
            worker::Command::Close { call } => {
                self.book.closed = true;
                self.say(Word::Worker(worker::Event { call: *call, leg: None, kind: worker::EventKind::Closed }), now);
            }
            _ => {}
        }
    }

    /// Takes a command for the recorder.
    pub fn record(&mut self, command: &recording::Command, now: Instant) {
        match command {
            recording::Command::Start(_) => {
                self.book.recordings_begun += 1;
                let failed = recording::EventKind::Failed { reason: "no disk".to_owned() };
                match self.script.record {
                    Luck::Works => self.say(Word::Recorder(recording::EventKind::Recording), now),
                    Luck::Fails => self.say(Word::Recorder(failed), now),
                    Luck::Hangs => {}
                }
            }
            recording::Command::Stop { .. } | recording::Command::Abandon { .. } => {
                self.end_recording(now);
            }
            recording::Command::Answered { .. } => {}
        }
    }

    fn end_recording(&mut self, now: Instant) {
        self.book.recordings_ended += 1;
        match self.script.seal {
            Luck::Works => self.say(Word::Recorder(recording::EventKind::Sealed { samples: 1 }), now),
            Luck::Fails => {
                let reason = "no disk".to_owned();
                self.say(Word::Recorder(recording::EventKind::Failed { reason }), now);
            }
            Luck::Hangs => {}
        }
    }

    fn gate(&mut self, call: CallId, gate: Gate, now: Instant) {
        self.book.gate = gate;
        let opens = gate.to_agent || gate.to_trunk;
        if opens && !self.recording {
            self.book.crossed_unrecorded = true;
        }
        self.book.gate_opened |= opens;
        self.book.talked |= gate.to_agent && gate.to_trunk;
        if opens && !self.trouble_entered {
            self.trouble_entered = true;
            self.enter_trouble(call, now);
        }
    }

    fn enter_trouble(&mut self, call: CallId, now: Instant) {
        let Some((after, trouble)) = self.script.trouble else { return };
        let worker = |kind| Word::Worker(worker::Event { call, leg: None, kind });
        let word = match trouble {
            Trouble::Silence => worker(worker::EventKind::MediaTimeout { silent_for: Duration::from_mins(1) }),
            Trouble::PathLost => worker(worker::EventKind::LegFailed { reason: LegFailure::IceFailed }),
            Trouble::TapOverflow => {
                let Some(tap) = self.tap else { return };
                worker(worker::EventKind::TapOverflow { tap })
            }
            Trouble::RecorderFails if self.book.recordings_begun == 0 => return,
            Trouble::RecorderFails => {
                Word::Recorder(recording::EventKind::Failed { reason: "the disk is full".to_owned() })
            }
        };
        self.agenda.enter(now + after, word);
    }

    fn answer(&mut self, luck: Luck, (call, leg): (CallId, LegId), works: worker::EventKind, now: Instant) {
        let kind = match luck {
            Luck::Works => works,
            Luck::Fails => worker::EventKind::LegFailed { reason: LegFailure::WorkerFull },
            Luck::Hangs => return,
        };
        self.say(Word::Worker(worker::Event { call, leg: Some(leg), kind }), now);
    }

    fn say(&mut self, word: Word, now: Instant) {
        let delay = Duration::from_millis(self.rng.random_range(0..=self.script.delay_ms_max));
        self.agenda.enter(now + delay, word);
    }
}
