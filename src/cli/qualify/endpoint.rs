//! The robot's own user agent with its own sockets: one trunk, one call at a time, and everything that crossed the wire.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use rand::RngCore as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::cli::qualify::media::Media;
use crate::clock::Clock;
use crate::config::Config;
use crate::sip::Command;
use crate::sip::Event;
use crate::sip::Flow;
use crate::sip::Transport;
use crate::sip::io;
use crate::sip::io::Inbound;
use crate::sip::io::Transports;
use crate::sip::message::Message;
use crate::sip::message::Method;
use crate::sip::message::Request;
use crate::sip::message::Response;
use crate::sip::message::sanity;
use crate::sip::message::sanity::Admission;
use crate::sip::user_agent;
use crate::sip::user_agent::Listen;
use crate::sip::user_agent::Output;
use crate::sip::user_agent::Trunk;
use crate::sip::user_agent::UserAgent;

/// Messages of one step that are kept; what comes beyond is not looked at.
const SEEN_MAX: usize = 2_000;
/// How long names may take to become addresses.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

/// A message that crossed the wire.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Whether it was ours.
    pub(super) sent: bool,
    /// Its path.
    pub(super) flow: Flow,
    /// The message.
    pub(super) message: Message,
    /// When.
    pub(super) at: Instant,
}

impl Seen {
    /// The request that it is.
    pub(super) const fn request(&self) -> Option<&Request> {
        match &self.message {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        }
    }

    /// The response that it is.
    pub(super) const fn response(&self) -> Option<&Response> {
        match &self.message {
            Message::Response(response) => Some(response),
            Message::Request(_) => None,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Endpoint {
    agent: UserAgent,
    transports: Transports,
    pub(super) clock: Clock,
    pub(super) rng: StdRng,
    pub(super) seen: Vec<Seen>,
    pub(super) events: VecDeque<Event>,
    pub(super) media: Option<Media>,
    has_targets: bool,
}

impl Endpoint {
    /// Binds sockets for this trunk alone, on `port` or any that is free.
    pub(crate) async fn start(config: &Config, trunk: Trunk, port: u16) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let mut rng = StdRng::from_os_rng();
        let ip = address_of(config, &trunk);
        let bind = |transport: &str| io::Bind { address: (ip, port).into(), key: format!("--port ({transport})") };
        let places: Vec<_> = config.sip.places.iter().filter(|places| places.trunk == trunk.name).cloned().collect();
        let by_tls = !config.sip.tls.is_empty() && config.sip.tls_files.server.is_some();
        let transports = io::Config {
            udp: vec![bind("udp")],
            tcp: vec![bind("tcp")],
            // A port of its own for TLS: TCP has the one that was asked for.
            tls: if by_tls {
                vec![io::Bind { address: (ip, 0).into(), key: "sip.tls".to_owned() }]
            } else {
                Vec::new()
            },
            tls_files: config.sip.tls_files.clone(),
            nameservers: config.sip.nameservers.clone(),
            chance: rng.next_u64(),
            is_trunk: Arc::new(|_| true),
            keep_alive: None,
            places,
            ..io::Config::default()
        };
        let transports = Transports::bind(transports).await.context("SIP cannot listen beside the gateway")?;
        let listen = |transport| move |address: &SocketAddr| Listen { transport, address: *address };
        let udp = transports.udp_addresses();
        let listens = udp.iter().map(listen(Transport::Udp));
        let listens = listens.chain(transports.tcp_addresses().iter().map(listen(Transport::Tcp)));
        let listens = listens.chain(transports.tls_addresses().iter().map(listen(Transport::Tls)));
        let has_targets = !trunk.targets.is_empty();
        let settings =
            user_agent::Config { listen: listens.collect(), trunks: vec![trunk], ..user_agent::Config::new(clock) };
        let agent = UserAgent::new(settings, StdRng::from_rng(&mut rng));
        let (seen, events) = (Vec::new(), VecDeque::new());
        let mut endpoint = Self { agent, transports, clock, rng, seen, events, media: None, has_targets };
        endpoint.agent.start(clock.now());
        endpoint.drain();
        let resolved = endpoint.until(RESOLVE_PATIENCE, |endpoint| endpoint.has_targets.then_some(())).await;
        resolved.context("the trunk's targets have no address: DNS does not answer")?;
        Ok(endpoint)
    }

    /// Gives the user agent a command.
    pub(super) fn command(&mut self, command: Command) {
        self.agent.handle(user_agent::Input::Command(command), self.clock.now());
        self.drain();
    }

    /// Lets time pass until `found` finds something, for `patience` at most.
    pub(crate) async fn until<T>(
        &mut self,
        patience: Duration,
        mut found: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let deadline = self.clock.now() + patience;
        loop {
            if let Some(found) = found(self) {
                return Some(found);
            }
            if self.clock.now() >= deadline {
                return None;
            }
            self.turn(deadline).await;
        }
    }

    /// Lets time pass.
    pub(super) async fn wait(&mut self, time: Duration) {
        let nothing: Option<()> = self.until(time, |_| None).await;
        debug_assert!(nothing.is_none(), "nothing was waited for");
    }

    async fn turn(&mut self, deadline: Instant) {
        let wake = self.agent.poll_timeout().map_or(deadline, |(at, _)| at.min(deadline));
        let media = self.media.as_mut();
        tokio::select! {
            inbound = self.transports.recv() => self.inbound(inbound),
            () = tokio::time::sleep_until(wake.into()) => self.agent.handle_timeout(self.clock.now()),
            () = turn_of(media) => {}
        }
        self.drain();
    }

    fn inbound(&mut self, inbound: Inbound) {
        let now = self.clock.now();
        match inbound {
            Inbound::Message { flow, bytes } => {
                self.note(false, flow, &bytes);
                self.agent.handle(user_agent::Input::Received { flow, bytes }, now);
            }
            Inbound::Closed { flow, .. } | Inbound::SendFailed { flow, .. } => {
                self.agent.handle(user_agent::Input::FlowFailed { flow }, now);
            }
            Inbound::Resolved { trunk, targets, names: _ } => {
                self.has_targets |= !targets.is_empty();
                self.agent.handle(user_agent::Input::Resolved { trunk, targets }, now);
            }
            Inbound::Opened { .. } => {}
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => {
                    self.note(true, flow, &bytes);
                    self.transports.send(flow, &bytes);
                }
                Output::Event(event) => self.events.push_back(event),
                Output::Count(_) | Output::Trunk(_) | Output::Quirk(_) => {}
            }
        }
    }

    fn note(&mut self, sent: bool, flow: Flow, bytes: &[u8]) {
        if self.seen.len() < SEEN_MAX
            && let Admission::Message(message) = sanity::admit(bytes)
        {
            self.seen.push(Seen { sent, flow, message, at: self.clock.now() });
        }
    }

    /// Closes every stream that is open, as a network would that fails. Whether there was one.
    pub(super) fn cut(&mut self) -> bool {
        let flows: Vec<Flow> =
            self.seen.iter().map(|seen| seen.flow).filter(|flow| flow.connection.is_some()).collect();
        for flow in &flows {
            self.transports.close(*flow);
        }
        !flows.is_empty()
    }

    /// Ends what it listens on.
    pub(crate) async fn stop(self) -> Vec<Seen> {
        self.transports.shutdown().await;
        self.seen
    }

    // --- what was seen ---

    /// The last response above 100 to the last request of ours with this method.
    pub(super) fn answer_to(&self, method: &Method) -> Option<&Response> {
        let (request, _) = self.last_sent(method)?;
        let branch = request.headers.top_via().ok()?.branch()?.to_owned();
        let is_answer = |response: &&Response| {
            let is_ours = response.headers.top_via().is_ok_and(|via| via.branch() == Some(branch.as_str()));
            is_ours
                && response.status.as_u16() > 100
                && response.headers.cseq().is_ok_and(|cseq| cseq.method == *method)
        };
        self.seen.iter().rev().filter(|seen| !seen.sent).filter_map(Seen::response).find(is_answer)
    }

    /// The last request of ours with this method, and when it left.
    pub(super) fn last_sent(&self, method: &Method) -> Option<(&Request, Instant)> {
        self.seen
            .iter()
            .rev()
            .filter(|seen| seen.sent)
            .find_map(|seen| Some((seen.request().filter(|request| request.method == *method)?, seen.at)))
    }

    /// Every OPTIONS of ours: its branch, how it went, where to and when.
    pub(crate) fn options_sent(&self) -> impl Iterator<Item = (Option<String>, &'static str, SocketAddr, Instant)> {
        self.seen.iter().filter(|seen| seen.sent).filter_map(|seen| {
            let request = seen.request().filter(|request| request.method == Method::Options)?;
            let branch = request.headers.top_via().ok().and_then(|via| via.branch().map(str::to_owned));
            Some((branch, seen.flow.transport.uri_name(), seen.flow.remote, seen.at))
        })
    }

    /// The final response to our request of this branch and method: its status, and when it came.
    pub(crate) fn status_of(&self, branch: &str, method: &Method) -> Option<(u16, Instant)> {
        self.seen.iter().filter(|seen| !seen.sent).find_map(|seen| {
            let response = seen.response().filter(|response| !response.status.is_provisional())?;
            let is_ours = response.headers.top_via().is_ok_and(|via| via.branch() == Some(branch))
                && response.headers.cseq().is_ok_and(|cseq| cseq.method == *method);
            is_ours.then_some((response.status.as_u16(), seen.at))
        })
    }

    /// Every response to an INVITE that came.
    pub(super) fn invite_responses(&self) -> impl Iterator<Item = (&Seen, &Response)> {
        self.seen
            .iter()
            .filter(|seen| !seen.sent)
            .filter_map(|seen| Some((seen, seen.response()?)))
            .filter(|(_, response)| response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite))
    }
}

async fn turn_of(media: Option<&mut Media>) {
    match media {
        Some(media) => media.turn().await,
        None => std::future::pending().await,
    }
}

/// The local address that the trunk is spoken to from.
fn address_of(config: &Config, trunk: &Trunk) -> IpAddr {
    let any = || config.sip.udp.iter().chain(&config.sip.tcp).chain(&config.sip.tls).next().map(SocketAddr::ip);
    trunk.bind.or_else(any).unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}
