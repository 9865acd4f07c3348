//! From digits to event packets: 100 ms on, 60 ms off, queued, each end said three times.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use crate::limits::DTMF_QUEUE_MAX;
use crate::rtp::telephone_event::DtmfDigit;
use crate::rtp::telephone_event::EventPayload;

/// How long a generated digit lasts, in milliseconds.
const ON_MS: u32 = 100;
/// Pause after a generated digit, in milliseconds.
const OFF_MS: u32 = 60;
/// Time between two packets of an event, in milliseconds.
const STEP_MS: u32 = 20;
/// Power of a generated digit in −dBm0.
const VOLUME: u8 = 10;
/// How often the end of an event is said (RFC 4733 2.5.1.4).
const ENDS: u8 = 3;

/// One event packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// Units of the clock from the event's start to this packet's timestamp: 0 until a long event needs segments.
    pub offset: u32,
    /// First packet of the event.
    pub marker: bool,
    /// What it carries.
    pub payload: EventPayload,
}

#[derive(Debug, Clone, Copy)]
struct Playing {
    digit: DtmfDigit,
    /// Length of the press in units of the clock.
    length: u32,
    /// Units said so far.
    elapsed: u32,
    /// Where the running segment starts.
    segment: u32,
    ends: u8,
    next: Instant,
    /// When the next digit may start.
    free: Instant,
}

/// One outgoing sequence of events.
#[derive(Debug, Clone)]
pub struct EventSender {
    clock_hz: u32,
    queue: VecDeque<(DtmfDigit, u32)>,
    playing: Option<Playing>,
}

impl EventSender {
    /// Events whose durations count `clock_hz`.
    pub const fn new(clock_hz: u32) -> Self {
        Self { clock_hz, queue: VecDeque::new(), playing: None }
    }

    /// Queues a digit of 100 ms; `false` where the queue is full.
    pub fn push(&mut self, digit: DtmfDigit, now: Instant) -> bool {
        self.push_lasting(digit, ON_MS, now)
    }

    /// Queues a digit of `duration_ms`, at least 40 and at most a minute; `false` where the queue is full.
    pub fn push_lasting(&mut self, digit: DtmfDigit, duration_ms: u32, now: Instant) -> bool {
        if self.queue.len() >= DTMF_QUEUE_MAX {
            return false;
        }
        self.queue.push_back((digit, duration_ms.clamp(40, 60_000)));
        if self.playing.is_none() {
            self.start_next(now);
        }
        true
    }

    /// Drops what is queued and what plays.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.playing = None;
    }

    /// Drops what is queued, and lets what plays end at `now` with what was said of it so far: the far side would hold
    /// the key down for ever without the three packets that end it (RFC 4733 2.5.1.4), which [`Self::poll`] gives out.
    pub fn cut(&mut self, now: Instant) {
        self.queue.clear();
        let Some(playing) = self.playing.take().filter(|playing| playing.elapsed > 0 && playing.ends < ENDS) else {
            return;
        };
        let next = if playing.ends == 0 { now } else { playing.next };
        self.playing = Some(Playing { length: playing.elapsed, next, free: now, ..playing });
    }

    /// Whether audio must be kept back: a digit, or the pause after one, is under way.
    pub const fn is_busy(&self) -> bool {
        self.playing.is_some()
    }

    /// When [`Self::poll`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.playing.as_ref().map(|playing| playing.next)
    }

    /// The packet that is due at `now`. Ask again until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<EventPacket> {
        while self.playing.as_ref().is_some_and(|playing| playing.next <= now) {
            let step = self.units(STEP_MS);
            let playing = self.playing.as_mut()?;
            if playing.ends == ENDS {
                let free = playing.free;
                self.playing = None;
                self.start_next(free);
                continue;
            }
            return Some(playing.step(step));
        }
        None
    }

    fn start_next(&mut self, now: Instant) {
        let Some((digit, duration_ms)) = self.queue.pop_front() else { return };
        let length = self.units(duration_ms);
        let free = now + Duration::from_millis(u64::from(duration_ms + OFF_MS));
        self.playing = Some(Playing { digit, length, elapsed: 0, segment: 0, ends: 0, next: now, free });
    }

    const fn units(&self, ms: u32) -> u32 {
        ms * (self.clock_hz / 1_000)
    }
}

impl Playing {
    fn step(&mut self, step: u32) -> EventPacket {
        let marker = self.elapsed == 0;
        if self.elapsed < self.length {
            self.elapsed = (self.elapsed + step).min(self.length);
        }
        if self.elapsed - self.segment > u32::from(u16::MAX) {
            // RFC 4733 2.5.1.3: the event goes on in a new segment, where the last full one ended.
            self.segment = self.elapsed - step;
        }
        let end = self.elapsed == self.length;
        if end {
            self.ends += 1;
        }
        self.next = if self.ends == ENDS {
            self.free.max(self.next)
        } else {
            self.next + Duration::from_millis(u64::from(STEP_MS))
        };
        let duration = u16::try_from(self.elapsed - self.segment).unwrap_or(u16::MAX);
        let payload = EventPayload { event: self.digit.event(), end, volume: VOLUME, duration };
        EventPacket { offset: self.segment, marker, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::rtp::telephone_event::receiver::EventReceiver;

    fn digit(character: char) -> DtmfDigit {
        DtmfDigit::from_char(character).unwrap()
    }

    /// Everything that is sent, with its time in milliseconds.
    fn play(sender: &mut EventSender, start: Instant) -> Vec<(u128, EventPacket)> {
        let mut sent = Vec::new();
        while let Some(at) = sender.poll_timeout() {
            while let Some(packet) = sender.poll(at) {
                sent.push(((at - start).as_millis(), packet));
            }
        }
        sent
    }

    #[test]
    fn a_digit_lasts_a_hundred_milliseconds_and_ends_three_times() {
        let start = Clock::system().now();
        let mut sender = EventSender::new(8_000);
        assert!(sender.push(digit('#'), start));
        let sent = play(&mut sender, start);
        let shape: Vec<_> = sent.iter().map(|(at, p)| (*at, p.marker, p.payload.end, p.payload.duration)).collect();
        assert_eq!(
            shape,
            [
                (0, true, false, 160),
                (20, false, false, 320),
                (40, false, false, 480),
                (60, false, false, 640),
                (80, false, true, 800),
                (100, false, true, 800),
                (120, false, true, 800)
            ]
        );
        assert!(sent.iter().all(|(_, packet)| packet.payload.event == 11 && packet.offset == 0));
        assert!(!sender.is_busy());
    }

    #[test]
    fn digits_start_a_hundred_and_sixty_milliseconds_apart() {
        let start = Clock::system().now();
        let mut sender = EventSender::new(8_000);
        for character in ['1', '2', '2'] {
            sender.push(digit(character), start);
        }
        let starts: Vec<_> = play(&mut sender, start)
            .into_iter()
            .filter(|(_, p)| p.marker)
            .map(|(at, p)| (at, p.payload.event))
            .collect();
        assert_eq!(starts, [(0, 1), (160, 2), (320, 2)]);
    }

    #[test]
    fn a_digit_that_is_cut_ends_with_what_was_said_of_it() {
        for (cut_after_ms, said, ends_at) in [
            (0, 160, [0, 20, 40]),
            (45, 480, [45, 65, 85]),
            // Its end was being said already.
            (85, 800, [80, 100, 120]),
        ] {
            let start = Clock::system().now();
            let mut sender = EventSender::new(8_000);
            sender.push(digit('5'), start);
            sender.push(digit('6'), start);
            let cut = start + Duration::from_millis(cut_after_ms);
            let mut sent = Vec::new();
            while let Some(at) = sender.poll_timeout().filter(|at| *at <= cut) {
                sent.extend(sender.poll(at).map(|packet| ((at - start).as_millis(), packet)));
            }
            sender.cut(cut);
            sent.extend(play(&mut sender, start));
            let ends: Vec<_> = sent.iter().filter(|(_, packet)| packet.payload.end).collect();
            assert_eq!(ends.iter().map(|(at, _)| *at).collect::<Vec<_>>(), ends_at, "{cut_after_ms}");
            assert!(ends.iter().all(|(_, packet)| packet.payload.duration == said && packet.payload.event == 5));
            assert!(sent.iter().all(|(_, packet)| packet.payload.event == 5), "what is queued is dropped");
            assert!(!sender.is_busy());
        }
    }

    #[test]
    fn a_digit_of_which_nothing_was_said_and_one_that_is_over_are_cut_without_a_word() {
        let start = Clock::system().now();
        let mut sender = EventSender::new(8_000);
        sender.push(digit('5'), start);
        sender.cut(start);
        assert_eq!(sender.poll_timeout(), None);
        sender.push(digit('5'), start);
        for at in (0..=120).step_by(20) {
            sender.poll(start + Duration::from_millis(at)).unwrap();
        }
        sender.cut(start + Duration::from_millis(130));
        assert_eq!((sender.poll_timeout(), sender.is_busy()), (None, false));
    }

    #[test]
    fn the_queue_is_bounded() {
        let start = Clock::system().now();
        let mut sender = EventSender::new(8_000);
        let taken = (0..1_000).filter(|_| sender.push(digit('0'), start)).count();
        assert_eq!(taken, DTMF_QUEUE_MAX + 1);
    }

    #[test]
    fn a_long_event_goes_in_segments_and_is_read_back_whole() {
        let start = Clock::system().now();
        let mut sender = EventSender::new(8_000);
        sender.push_lasting(digit('5'), 10_000, start);
        let sent = play(&mut sender, start);
        assert!(sent.iter().any(|(_, packet)| packet.offset > 60_000));
        let mut receiver = EventReceiver::new(8_000);
        let mut presses = Vec::new();
        for (at, packet) in sent {
            let now = start + Duration::from_millis(at.try_into().unwrap());
            let heard = receiver.handle(77_u32.wrapping_add(packet.offset), &packet.payload.to_bytes(), now);
            presses.extend(heard.before);
            presses.extend(heard.ended);
        }
        assert_eq!(presses.len(), 1);
        assert_eq!(presses[0].duration_ms, 10_000);
    }
}
