//! The SIP task: the one owner of the user agent and of its sockets.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::limits;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::io::Inbound;
use crate::sip::io::Transports;
use crate::sip::registration::State;
use crate::sip::user_agent::Counter;
use crate::sip::user_agent::Input;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::TrunkNotice;
use crate::sip::user_agent::UserAgent;
use crate::telemetry::metrics::SIP_MESSAGES;
use crate::telemetry::metrics::SIP_QUIRKS;
use crate::telemetry::metrics::TRUNK_LINES;
use crate::telemetry::metrics::TRUNK_TARGET_UP;

/// The way to the SIP task. Cheap to clone; the task ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct SipHandle {
    commands: mpsc::Sender<Command>,
}

/// The command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// [`limits::SIP_COMMANDS`] commands wait already: refuse new calls.
    #[error("the SIP task is overloaded")]
    Full,
    /// The task has ended.
    #[error("the SIP task has ended")]
    Ended,
}

impl SipHandle {
    /// Hands a command over. Never waits.
    pub fn try_send(&self, command: Command) -> Result<(), SendError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Ended,
        })
    }
}

/// The two ends of the way to the SIP task: the second is for [`run`].
pub fn commands() -> (SipHandle, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel(limits::SIP_COMMANDS);
    (SipHandle { commands: sender }, receiver)
}

/// Runs the SIP side until `stop`, or until every [`SipHandle`] is dropped; then closes the sockets.
///
/// Events that `events` has no room for wait here. Where too many wait, nothing more is read: peers send again, and
/// commands wait in their channel.
pub async fn run(
    mut agent: UserAgent,
    transports: Transports,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    clock: Clock,
    stop: CancellationToken,
) {
    let room = events.clone();
    agent.start(clock.now());
    let mut task = SipTask { agent, transports, events, waiting: VecDeque::new() };
    let mut last = None;
    let mut sweep = tokio::time::interval(limits::SIP_STREAM_HOLD_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let has_room = task.waiting.len() < limits::SIP_EVENTS_WAITING;
        let deadline = task.agent.poll_timeout().map(|(at, _)| at);
        tokio::select! {
            () = stop.cancelled(), if last.is_none() => last = Some(clock.now() + limits::SIP_UNREGISTER_TIMEOUT),
            inbound = task.transports.recv(), if has_room => task.inbound(inbound, clock.now()),
            command = commands.recv(), if has_room => match command {
                Some(command) => task.agent.handle(Input::Command(command), clock.now()),
                None => break,
            },
            permit = room.reserve(), if !task.waiting.is_empty() => {
                let Ok(permit) = permit else { break };
                if let Some(event) = task.waiting.pop_front() {
                    permit.send(event);
                }
            }
            () = sleep_until(last) => break,
            // Far more often than connections idle out, and what set a call up was traffic by itself.
            _ = sweep.tick() => task.transports.hold_only(&task.agent.connections_in_use()),
            () = sleep_until(deadline) => task.agent.handle_timeout(clock.now()),
        }
        task.drain();
        // The registrars' answers are worth a moment.
        if last.is_some() && !task.agent.is_unregistering() {
            break;
        }
    }
    task.transports.shutdown().await;
}

struct SipTask {
    agent: UserAgent,
    transports: Transports,
    events: mpsc::Sender<Event>,
    waiting: VecDeque<Event>,
}

impl SipTask {
    fn inbound(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Message { flow, bytes } => self.agent.handle(Input::Received { flow, bytes }, now),
            Inbound::Opened { flow } => tracing::debug!(peer = %flow.remote, "stream opened"),
            Inbound::Closed { flow, reason } => {
                tracing::debug!(peer = %flow.remote, %reason, "stream closed");
                self.agent.handle(Input::FlowFailed { flow }, now);
            }
            Inbound::Resolved { trunk, targets, names: _ } => {
                self.agent.handle(Input::Resolved { trunk, targets }, now);
            }
            Inbound::SendFailed { flow, error } => {
                tracing::debug!(peer = %flow.remote, %error, "message not sent");
                self.agent.handle(Input::FlowFailed { flow }, now);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => self.transports.send(flow, &bytes),
                Output::Event(event) => self.tell(event),
                Output::Trunk(notice) => trunk_notice(&notice),
                Output::Quirk(fired) => {
                    let labels = [("trunk", fired.trunk.to_string()), ("quirk", fired.quirk.name().to_owned())];
                    metrics::counter!(SIP_QUIRKS.name, &labels).increment(1);
                    self.transports.show_quirk(&fired);
                }
                Output::Count(counter) => {
                    metrics::counter!(SIP_MESSAGES.name, "what" => counter_label(counter)).increment(1);
                }
            }
        }
    }

    /// Passes an event on, behind those that wait.
    fn tell(&mut self, event: Event) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(event);
            return;
        }
        match self.events.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(event)) => self.waiting.push_back(event),
        }
    }
}

/// Says what became of a target or a line, in the log and as a metric.
fn trunk_notice(notice: &TrunkNotice) {
    match notice {
        TrunkNotice::Target { trunk, address, is_up } => {
            if *is_up {
                tracing::info!(%trunk, target = %address, "trunk target answers again");
            } else {
                tracing::warn!(%trunk, target = %address, "trunk target does not answer");
            }
            let labels = [("trunk", trunk.to_string()), ("target", address.to_string())];
            metrics::gauge!(TRUNK_TARGET_UP.name, &labels).set(f64::from(u8::from(*is_up)));
        }
        TrunkNotice::Line { trunk, line, state, registered } => {
            match state {
                State::Registered => tracing::info!(%trunk, line, "line registered"),
                State::Unregistered => tracing::warn!(%trunk, line, "line is not registered"),
            }
            let registered = u32::try_from(*registered).unwrap_or(u32::MAX);
            metrics::gauge!(TRUNK_LINES.name, "trunk" => trunk.to_string()).set(f64::from(registered));
        }
    }
}

const fn counter_label(counter: Counter) -> &'static str {
    match counter {
        Counter::UnknownSource => "unknown_source",
        Counter::Malformed => "malformed",
        Counter::StrayResponse => "stray_response",
        Counter::Overload => "overload",
        Counter::Retransmission => "retransmission",
        Counter::Rejected => "rejected",
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use crate::ids::LegId;
    use crate::ids::SessionId;
    use crate::ids::TrunkName;
    use crate::pii::Pii;
    use crate::sip::EndCause;
    use crate::sip::OutgoingInvite;
    use crate::sip::Party;
    use crate::sip::Transport;
    use crate::sip::io;
    use crate::sip::io::tls::tests::Authority;
    use crate::sip::user_agent::Config;
    use crate::sip::user_agent::Listen;
    use crate::sip::user_agent::Network;
    use crate::sip::user_agent::Target;
    use crate::sip::user_agent::Trunk;

    struct End {
        handle: SipHandle,
        events: mpsc::Receiver<Event>,
    }

    impl End {
        async fn event(&mut self) -> Event {
            tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await.unwrap().unwrap()
        }
    }

    async fn bind() -> (Transports, SocketAddr, SocketAddr) {
        bind_with(io::tls::Config::default()).await
    }

    async fn bind_with(tls_files: io::tls::Config) -> (Transports, SocketAddr, SocketAddr) {
        let local = || vec![io::Bind { address: "127.0.0.1:0".parse().unwrap(), key: "test".to_owned() }];
        let tls = if tls_files.server.is_some() { local() } else { Vec::new() };
        let config = io::Config {
            udp: local(),
            tcp: local(),
            tls,
            tls_files,
            is_trunk: Arc::new(|_| true),
            ..io::Config::default()
        };
        let transports = Transports::bind(config).await.unwrap();
        let (udp, tcp) = (transports.udp_addresses()[0], transports.tcp_addresses()[0]);
        (transports, udp, tcp)
    }

    fn start(transports: Transports, udp: SocketAddr, tcp: SocketAddr, target: Option<Target>, mailbox: usize) -> End {
        let clock = Clock::system();
        let mut config = Config::new(clock);
        config.listen = vec![
            Listen { transport: Transport::Udp, address: udp },
            Listen { transport: Transport::Tcp, address: tcp },
        ];
        let tls = transports.tls_addresses().iter();
        config.listen.extend(tls.map(|&address| Listen { transport: Transport::Tls, address }));
        let any = Target { transport: Transport::Udp, address: udp, tcp_for_large: false };
        let mut trunk = Trunk::of_target(TrunkName::new("peer"), target.unwrap_or(any));
        trunk.networks = vec![Network { address: "127.0.0.0".parse().unwrap(), prefix_len: 8 }];
        config.trunks = vec![trunk];
        let (handle, commands) = commands();
        let (sender, events) = mpsc::channel(mailbox);
        let agent = UserAgent::new(config, StdRng::seed_from_u64(u64::from(udp.port())));
        drop(tokio::spawn(run(agent, transports, commands, sender, clock, CancellationToken::new())));
        End { handle, events }
    }

    fn call(leg: LegId, offer: Bytes) -> Command {
        call_on("peer", leg, offer)
    }

    fn call_on(trunk: &str, leg: LegId, offer: Bytes) -> Command {
        Command::Invite(OutgoingInvite {
            leg,
            trunk: TrunkName::new(trunk),
            called: "1001".to_owned(),
            from: Party { user: Pii::new("2000".to_owned()), display_name: None },
            session_id: SessionId::from_bytes([1; 16]),
            offer: Some(offer),
            replaces: None,
            anonymous: false,
            headers: Vec::new(),
            user_to_user: None,
            diverted_from: None,
        })
    }

    /// A call over real sockets: invited, accepted, acknowledged, ended by the caller.
    async fn one_call(transport: Transport, offer: Bytes) {
        let authority = Authority::new();
        let (there, there_udp, there_tcp) = bind_with(authority.config(&["127.0.0.1"]).tls_files).await;
        let (here, here_udp, here_tcp) = bind_with(authority.config(&["127.0.0.1"]).tls_files).await;
        let address = match transport {
            Transport::Udp | Transport::Memory => there_udp,
            Transport::Tcp => there_tcp,
            Transport::Tls => there.tls_addresses()[0],
        };
        let target = Target { transport, address, tcp_for_large: false };
        let mut callee = start(there, there_udp, there_tcp, None, 1);
        let mut caller = start(here, here_udp, here_tcp, Some(target), 1);
        let leg = LegId::from_uuid(uuid::Uuid::from_u128(1));
        caller.handle.try_send(call(leg, offer.clone())).unwrap();

        let Event::Invited(invitation) = callee.event().await else { panic!() };
        assert_eq!(invitation.offer.as_ref(), Some(&offer));
        callee.handle.try_send(Command::Accept { leg: invitation.leg, sdp: Bytes::from_static(b"v=0") }).unwrap();
        assert!(matches!(caller.event().await, Event::Accepted { sdp: Some(_), .. }));
        assert!(matches!(callee.event().await, Event::Acknowledged { .. }));
        caller.handle.try_send(Command::Bye { leg, reason: None }).unwrap();
        assert!(matches!(callee.event().await, Event::Ended { cause: EndCause::PeerBye, .. }));
        assert!(matches!(caller.event().await, Event::Ended { cause: EndCause::LocalBye, .. }));
    }

    #[tokio::test]
    async fn a_call_runs_over_udp() {
        one_call(Transport::Udp, Bytes::from_static(b"v=0")).await;
    }

    #[tokio::test]
    async fn a_call_runs_over_tcp() {
        one_call(Transport::Tcp, Bytes::from_static(b"v=0")).await;
    }

    #[tokio::test]
    async fn a_call_runs_over_tls() {
        one_call(Transport::Tls, Bytes::from_static(b"v=0")).await;
    }

    #[tokio::test]
    async fn a_target_that_takes_no_stream_is_503() {
        let (here, udp, tcp) = bind().await;
        // A port that was just free, and is closed again.
        let (gone, _, gone_tcp) = bind().await;
        gone.shutdown().await;
        let target = Target { transport: Transport::Tcp, address: gone_tcp, tcp_for_large: false };
        let mut caller = start(here, udp, tcp, Some(target), 8);
        let leg = LegId::from_uuid(uuid::Uuid::from_u128(1));
        caller.handle.try_send(call(leg, Bytes::from_static(b"v=0"))).unwrap();
        let Event::Refused { status, .. } = caller.event().await else { panic!() };
        assert_eq!(status.as_u16(), 503);
    }

    #[tokio::test]
    async fn events_wait_for_a_slow_reader_and_keep_their_order() {
        let (here, udp, tcp) = bind().await;
        let mut end = start(here, udp, tcp, None, 1);
        for number in 0..50 {
            let command = call_on("nowhere", LegId::from_uuid(uuid::Uuid::from_u128(number)), Bytes::new());
            end.handle.try_send(command).unwrap();
        }
        for number in 0..50 {
            let event = end.event().await;
            assert!(matches!(event, Event::Refused { leg, .. } if leg.as_uuid().as_u128() == number));
        }
    }

    #[tokio::test]
    async fn the_task_ends_with_its_last_handle() {
        let (here, udp, tcp) = bind().await;
        let End { handle, mut events } = start(here, udp, tcp, None, 1);
        drop(handle);
        assert!(tokio::time::timeout(Duration::from_secs(5), events.recv()).await.unwrap().is_none());
    }
}
