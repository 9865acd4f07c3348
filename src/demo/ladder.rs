//! The call ladder: who said what to whom, on one clock, as seen from outside the gateway.

use std::time::Instant;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::trace::ladder::Column;
use crate::trace::ladder::Rung;

/// Entries kept: a call makes about twenty.
const ENTRIES_MAX: usize = 4_096;

/// A column of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The simulated PBX.
    Pbx,
    /// The gateway.
    Gateway,
    /// The headless agent.
    Agent,
}

impl Party {
    const fn column(self) -> Column {
        match self {
            Self::Pbx => Column::Left,
            Self::Gateway => Column::Middle,
            Self::Agent => Column::Right,
        }
    }
}

/// One message or event.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it was seen.
    pub at: Instant,
    /// Who.
    pub from: Party,
    /// To whom; the same as `from` for an event of one party.
    pub to: Party,
    /// What.
    pub text: String,
}

/// Takes entries from every side. Cheap to clone; an entry that does not fit is lost.
#[derive(Debug, Clone)]
pub struct Ladder {
    clock: Clock,
    entries: mpsc::Sender<Entry>,
}

/// Where the entries end up.
#[derive(Debug)]
pub struct LadderLog(mpsc::Receiver<Entry>);

impl Ladder {
    /// A ladder and its log.
    pub fn new(clock: Clock) -> (Self, LadderLog) {
        let (entries, log) = mpsc::channel(ENTRIES_MAX);
        (Self { clock, entries }, LadderLog(log))
    }

    /// Notes that `from` said `text` to `to`, now.
    pub fn note(&self, from: Party, to: Party, text: impl Into<String>) {
        let entry = Entry { at: self.clock.now(), from, to, text: text.into() };
        if self.entries.try_send(entry).is_err() {
            tracing::debug!("the ladder is full");
        }
    }
}

impl LadderLog {
    /// Everything noted so far, in order.
    pub fn drain(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Ok(entry) = self.0.try_recv() {
            entries.push(entry);
        }
        entries.sort_by_key(|entry| entry.at);
        entries
    }
}

/// Draws entries as text, times in milliseconds since the first.
pub fn draw(entries: &[Entry]) -> String {
    let first = entries.first().map(|entry| entry.at);
    let rung = |entry: &Entry| {
        let since = first.map(|first| entry.at.saturating_duration_since(first)).unwrap_or_default();
        let at_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Rung { at_us, from: entry.from.column(), to: entry.to.column(), text: entry.text.clone() }
    };
    let rungs: Vec<Rung> = entries.iter().map(rung).collect();
    crate::trace::ladder::draw(["PBX", "gateway", "agent"], &rungs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn entries_are_drawn_in_the_order_of_time() {
        let clock = Clock::system();
        let (ladder, mut log) = Ladder::new(clock);
        ladder.note(Party::Pbx, Party::Gateway, "INVITE 1001");
        ladder.note(Party::Gateway, Party::Agent, "call.incoming");
        ladder.note(Party::Agent, Party::Agent, "audio");
        let mut entries = log.drain();
        let start = entries[0].at;
        for (index, entry) in entries.iter_mut().enumerate() {
            entry.at = start + Duration::from_millis(10) * u32::try_from(index).unwrap();
        }
        let text = draw(&entries);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].starts_with("      0.0  |- INVITE 1001 ---"), "{text}");
        assert!(lines[1].contains(">|"), "{text}");
        assert!(lines[2].contains("10.0") && lines[2].contains("|- call.incoming -"), "{text}");
        assert!(lines[3].ends_with("* audio"), "{text}");
    }
}
