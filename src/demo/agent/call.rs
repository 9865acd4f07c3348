//! One call of one agent: a socket, a peer, and what is said and heard. One task a call.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::demo::agent::AgentEvent;
use crate::demo::agent::peer::{AgentPeer, PeerEvent};
use crate::demo::agent::sound::{Mode, Outgoing, Sound};
use crate::demo::ladder::{Ladder, Party};

/// Time between two frames of an agent that speaks.
const FRAME: Duration = Duration::from_millis(20);
/// A peer without a timer of its own is asked again after this.
const IDLE: Duration = Duration::from_millis(500);
/// Frames that may be made up for at once, after which the speaker starts afresh.
const FRAMES_LATE_MAX: u32 = 10;
/// Datagrams read between two looks at the timers.
const BATCH: usize = 32;

/// What the signalling tells a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The call is accepted: speak.
    Speak,
    /// Tell what was heard since the last report.
    Report,
    /// The call is over.
    End,
}

/// One call's media.
pub(super) struct Media {
    clock: Clock,
    socket: UdpSocket,
    peer: AgentPeer,
    sound: Sound,
    speaking: bool,
    connected: bool,
    next_frame: Option<Instant>,
    packets_heard: u64,
    digits: Digits,
    ladder: Option<Ladder>,
}

/// Where a call's media tells what it hears, and the call's name.
pub(super) type Reports = (String, mpsc::Sender<AgentEvent>);

/// What was heard in a call since its last report, or at all where there was none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Opus packets that arrived.
    pub packets: u64,
    /// What they sound like, at [`crate::demo::agent::HEARD_RATE`]; empty for an echo.
    pub samples: Vec<i16>,
    /// The keys that the far side pressed, as RTP events (RFC 4733).
    pub digits: String,
}

/// The digits of one call, each counted once however often its packets come.
#[derive(Debug, Default)]
struct Digits {
    heard: String,
    last: Option<u32>,
}

impl Digits {
    /// One packet of an event: whoever presses a key keeps its timestamp until it is let go (RFC 4733 2.2.4.1).
    fn hear(&mut self, payload: &[u8], timestamp: u32) {
        if self.last.replace(timestamp) == Some(timestamp) {
            return;
        }
        let key = payload.first().and_then(|&event| b"0123456789*#ABCD".get(usize::from(event)));
        self.heard.extend(key.map(|&key| char::from(key)));
    }
}

impl Media {
    /// Answers the gateway's offer from a socket of its own on the loopback interface.
    pub(super) async fn answer(
        offer: &str,
        mode: Mode,
        clock: Clock,
        ladder: Option<Ladder>,
    ) -> Result<(Self, String)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no UDP socket for the agent's media")?;
        let (peer, answer) = AgentPeer::answer(offer, socket.local_addr()?, rand::random(), clock.now())?;
        Ok((Self::new(socket, peer, mode, clock, ladder)?, answer))
    }

    pub(super) fn new(
        socket: UdpSocket,
        peer: AgentPeer,
        mode: Mode,
        clock: Clock,
        ladder: Option<Ladder>,
    ) -> Result<Self> {
        let sound = Sound::new(mode, rand::random())?;
        Ok(Self {
            clock,
            socket,
            peer,
            sound,
            speaking: false,
            connected: false,
            next_frame: None,
            packets_heard: 0,
            digits: Digits::default(),
            ladder,
        })
    }

    /// Runs until told to end, or until the peer gives up.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, reports: Reports) -> Heard {
        if let Err(error) = self.turn_until_ended(&mut orders, &reports).await {
            tracing::warn!(error = format!("{error:#}"), "an agent's media failed");
        }
        self.peer.close();
        if let Err(error) = self.transmit().await {
            tracing::debug!(error = format!("{error:#}"), "an agent's goodbye was lost");
        }
        self.take_heard()
    }

    fn take_heard(&mut self) -> Heard {
        Heard {
            packets: std::mem::take(&mut self.packets_heard),
            samples: self.sound.take_heard(),
            digits: std::mem::take(&mut self.digits.heard),
        }
    }

    async fn turn_until_ended(&mut self, orders: &mut mpsc::Receiver<Order>, reports: &Reports) -> Result<()> {
        let mut buffer = vec![0_u8; 2_048];
        loop {
            if !self.drain_events()? {
                return Ok(());
            }
            self.speak()?;
            self.transmit().await?;
            let now = self.clock.now();
            let due = self.peer.poll_timeout().unwrap_or(now + IDLE).min(self.next_frame.unwrap_or(now + IDLE));
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Speak) => self.speaking = true,
                    Some(Order::Report) => AgentEvent::Report { call_id: reports.0.clone(), heard: self.take_heard() }.tell(&reports.1),
                    Some(Order::End) | None => return Ok(()),
                },
                () = tokio::time::sleep_until(due.into()) => self.peer.handle_timeout(self.clock.now())?,
                received = self.socket.recv_from(&mut buffer) => self.take_datagrams(received, &mut buffer),
            }
        }
    }

    /// The datagram that arrived, and those behind it.
    fn take_datagrams(&mut self, first: std::io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let mut received = first;
        for _ in 0..BATCH {
            // An error is the echo of an earlier datagram to a port that is closed by now (ICMP), or "no more".
            let Ok((length, from)) = received else { return };
            self.peer.handle_datagram(from, buffer.get(..length).unwrap_or_default(), self.clock.now());
            received = self.socket.try_recv_from(buffer);
        }
    }

    /// False once the peer has failed.
    fn drain_events(&mut self) -> Result<bool> {
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::Connected => {
                    self.connected = true;
                    self.note("ICE and DTLS-SRTP are up");
                }
                PeerEvent::Failed => return Ok(false),
                PeerEvent::Digit { payload, timestamp } => self.digits.hear(&payload, timestamp),
                PeerEvent::Audio { payload, timestamp, marker } => {
                    let echo = self.sound.hear(payload, timestamp, marker);
                    self.count_heard();
                    echo.map_or(Ok(()), |echo| self.send(echo))?;
                }
            }
        }
        Ok(true)
    }

    fn count_heard(&mut self) {
        if self.packets_heard == 0 {
            self.note("first audio heard");
        }
        self.packets_heard += 1;
    }

    /// Says what is due, if this agent speaks by itself.
    fn speak(&mut self) -> Result<()> {
        if !(self.speaking && self.connected && self.sound.speaks()) {
            return Ok(());
        }
        let now = self.clock.now();
        let mut next = self.next_frame.unwrap_or(now);
        if next + FRAME * FRAMES_LATE_MAX < now {
            next = now;
        }
        while next <= now {
            if let Some(frame) = self.sound.next_frame()? {
                self.send(frame)?;
            }
            next += FRAME;
        }
        self.next_frame = Some(next);
        Ok(())
    }

    /// Nothing is said before the call is accepted.
    fn send(&mut self, frame: Outgoing) -> Result<()> {
        if !self.speaking {
            return Ok(());
        }
        self.peer.write_audio(frame.payload, frame.timestamp, frame.marker, self.clock.now())
    }

    async fn transmit(&mut self) -> Result<()> {
        while let Some((to, datagram)) = self.peer.poll_transmit() {
            if let Err(error) = self.socket.send_to(&datagram, to).await {
                tracing::debug!(%error, "a datagram of an agent was not sent");
            }
        }
        Ok(())
    }

    fn note(&self, text: &str) {
        if let Some(ladder) = &self.ladder {
            ladder.note(Party::Agent, Party::Agent, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::agent::HEARD_RATE;
    use crate::demo::tone::ToneFigure;

    /// Both ends of a call: one that offered, the agent that answers it.
    async fn pair(offering: Mode, answering: Mode) -> (Media, Media) {
        let clock = Clock::system();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (mut peer, offer) = AgentPeer::offer(socket.local_addr().unwrap(), 77, clock.now()).unwrap();
        let (answerer, answer) = Media::answer(&offer, answering, clock, None).await.unwrap();
        assert!(answer.contains("a=setup:active"), "{answer}");
        assert!(answer.contains("a=sendrecv"), "{answer}");
        peer.accept_answer(&answer, clock.now()).unwrap();
        (Media::new(socket, peer, offering, clock, None).unwrap(), answerer)
    }

    /// Runs both ends for `seconds` and returns what each heard; `accept` says who may speak.
    async fn talk(pair: (Media, Media), accept: (bool, bool), seconds: u64) -> (Heard, Heard) {
        let reports = || ("call".to_owned(), mpsc::channel(4).0);
        let (left_orders, left_inbox) = mpsc::channel(4);
        let (right_orders, right_inbox) = mpsc::channel(4);
        if accept.0 {
            left_orders.send(Order::Speak).await.unwrap();
        }
        if accept.1 {
            right_orders.send(Order::Speak).await.unwrap();
        }
        let ending = async {
            tokio::time::timeout(Duration::from_secs(seconds), std::future::pending::<()>()).await.unwrap_err();
            left_orders.send(Order::End).await.unwrap();
            right_orders.send(Order::End).await.unwrap();
        };
        let (left, right, ()) =
            tokio::join!(pair.0.run(left_inbox, reports()), pair.1.run(right_inbox, reports()), ending);
        (left, right)
    }

    #[test]
    fn a_digit_counts_once_however_often_its_packets_come() {
        let mut digits = Digits::default();
        for (event, timestamp) in [(1, 10), (1, 10), (1, 10), (1, 9_000), (11, 20_000), (11, 20_000), (99, 30_000)] {
            digits.hear(&[event, 0x8a, 0, 160], timestamp);
        }
        digits.hear(&[], 40_000);
        assert_eq!(digits.heard, "11#");
    }

    #[tokio::test]
    async fn two_agents_hear_each_others_tones() {
        let pair = pair(Mode::Tone { hz: 1_000.0 }, Mode::Tone { hz: 440.0 }).await;
        let (left, right) = Box::pin(talk(pair, (true, true), 3)).await;
        let at_left = ToneFigure::of(&left.samples, HEARD_RATE, 440.0);
        let at_right = ToneFigure::of(&right.samples, HEARD_RATE, 1_000.0);
        assert!(at_left.seconds >= 1.0, "{at_left:?}, {} packets", left.packets);
        assert!(at_right.seconds >= 1.0, "{at_right:?}, {} packets", right.packets);
        assert_eq!(ToneFigure::of(&left.samples, HEARD_RATE, 1_000.0).begins_at, None);
    }

    #[tokio::test]
    async fn an_echo_comes_back_and_an_agent_that_has_not_accepted_is_silent() {
        let accepted = pair(Mode::Tone { hz: 440.0 }, Mode::Echo).await;
        let (speaker, echo) = Box::pin(talk(accepted, (true, true), 3)).await;
        assert!(ToneFigure::of(&speaker.samples, HEARD_RATE, 440.0).seconds >= 1.0);
        assert!(echo.packets > 50);

        let ringing = pair(Mode::Tone { hz: 440.0 }, Mode::Echo).await;
        let (speaker, echo) = Box::pin(talk(ringing, (true, false), 2)).await;
        assert!(echo.packets > 20, "the transport is up while it rings");
        assert_eq!(speaker.packets, 0);
    }
}
