//! What `tandem demo` and the integration tests run besides the gateway itself.
//!
//! [`run`] is the demonstration: private servers, a gateway, a simulated PBX and headless agents; then a call from the
//! PBX to an agent, proven by tones that are made outside the gateway, and its recording, found, decrypted, compared.

pub mod agent;
pub mod baresip;
pub mod gateway;
pub mod http;
pub mod ladder;
pub mod linphone;
pub mod pbx;
mod pbx_trace;
pub mod phone;
mod prepare;
pub mod proof;
pub mod servers;
pub mod settings;
mod show;
pub mod sipp;
pub mod tone;
pub mod torture;
mod voice;
pub mod wav;

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::demo::agent::{Agent, AgentOptions, Mode};
use crate::demo::gateway::GatewayProcess;
use crate::demo::pbx::Pbx;
use crate::demo::servers::{DEMO_PEOPLE, LdapServer, PostgresServer};
use crate::demo::settings::Settings;
use crate::sip;

/// What `tandem demo` was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// End after the call instead of staying up.
    pub once: bool,
    /// Place no call: for tests and SIPp.
    pub no_call: bool,
    /// Place no call but send this directory's torture messages by this transport, print the table and end.
    pub torture: Option<(PathBuf, sip::Transport)>,
    /// Addresses and directories.
    pub settings: Settings,
}

/// Everything that the demo runs. Its fields end in this order, the gateway before what it depends on.
#[derive(Debug)]
pub struct Stage {
    /// Bob, who answers after 1 s and echoes.
    pub bob: Agent,
    /// The simulated PBX, where the settings want one.
    pub pbx: Option<Pbx>,
    /// The gateway.
    pub gateway: GatewayProcess,
    /// The directory.
    pub ldap: LdapServer,
    /// The database.
    pub database: PostgresServer,
    /// Where the PBX's messages are noted.
    pub log: ladder::LadderLog,
    /// Where things listen.
    pub settings: Settings,
    ladder: ladder::Ladder,
    clock: Clock,
}

/// Runs the demonstration until it is over, or until SIGINT or SIGTERM; ends everything it started either way.
pub async fn run(options: Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stopped = std::pin::pin!(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
    let mut stage = tokio::select! {
        stage = Box::pin(Stage::set(options.settings.clone(), Clock::system())) => stage?,
        () = &mut stopped => return Ok(()),
    };
    let result = tokio::select! {
        result = Box::pin(play(&mut stage, &options)) => result,
        () = &mut stopped => Ok(()),
    };
    say("ending the demo")?;
    stage.strike().await;
    result
}

/// Where the gateway takes messages by this transport.
fn torture_wire(settings: &Settings, transport: sip::Transport) -> (std::net::SocketAddr, torture::Wire) {
    match transport {
        // Nobody outside can speak to the gateway's own memory.
        sip::Transport::Udp | sip::Transport::Memory => (settings.sip, torture::Wire::Udp),
        sip::Transport::Tcp => (settings.sip, torture::Wire::Tcp),
        sip::Transport::Tls => (settings.sip_tls, torture::Wire::Tls(settings.ca_file())),
    }
}

async fn play(stage: &mut Stage, options: &Options) -> Result<()> {
    if let Some((messages, transport)) = &options.torture {
        let (gateway, wire) = torture_wire(&stage.settings, *transport);
        let report = torture::run(gateway, &wire, messages).await?;
        say(&report.to_string())?;
        return report.verdict();
    }
    if !options.no_call {
        show::call(stage).await?;
    }
    if options.once {
        return Ok(());
    }
    say(&welcome(&stage.settings))?;
    stage.watch().await
}

impl Stage {
    /// Starts everything.
    pub async fn set(settings: Settings, clock: Clock) -> Result<Self> {
        fs::create_dir_all(&settings.directory)?;
        let settings = Settings { directory: settings.directory.canonicalize()?, ..settings };
        check_free(&settings)?;
        say("starting a private PostgreSQL and OpenLDAP")?;
        let place = |name| settings.directory.join(name);
        let (for_database, for_ldap) = (place("postgres"), place("ldap"));
        let (database, ldap) = tokio::join!(PostgresServer::launch(&for_database), LdapServer::launch(&for_ldap));
        let (database, ldap) = (database?, ldap?);
        prepare::site(&settings, &database, &ldap).await?;
        say("starting the gateway and the simulated PBX")?;
        let (ladder, log) = ladder::Ladder::new(clock);
        let gateway = GatewayProcess::start(settings.clone()).await?;
        let pbx = if settings.simulated_pbx {
            Some(Pbx::start(&settings.directory.join("pbx"), settings.pbx, Some(ladder.clone())).await?)
        } else {
            None
        };
        let bob = Agent::log_in(AgentOptions::of("bob", settings.http, Mode::Echo, clock)).await?;
        say("bob (1002) is logged in; he answers after 1 s and echoes")?;
        Ok(Self { bob, pbx, gateway, ldap, database, log, settings, ladder, clock })
    }

    /// The simulated PBX.
    pub fn pbx(&mut self) -> Result<&mut Pbx> {
        self.pbx.as_mut().context("this stage has no simulated PBX")
    }

    /// Stays until the gateway ends by itself.
    async fn watch(&mut self) -> Result<()> {
        let mut pause = tokio::time::interval(Duration::from_millis(500));
        while !self.gateway.has_ended() {
            pause.tick().await;
        }
        bail!("the gateway ended\n{}", self.gateway.last_words())
    }

    /// Ends everything in good order.
    pub async fn strike(mut self) {
        drop(self.bob);
        if let Some(pbx) = self.pbx {
            pbx.stop().await;
        }
        self.gateway.stop();
        self.ldap.stop();
        self.database.stop();
    }
}

/// A taken port is said by name before anything starts, not found in a log afterwards.
fn check_free(settings: &Settings) -> Result<()> {
    let tcp = [
        ("sip.tcp", settings.sip),
        ("sip.tls", settings.sip_tls),
        ("http.plain", settings.http),
        ("http.tls", settings.https),
        ("the PBX", settings.pbx),
    ];
    for (whose, address) in tcp {
        TcpListener::bind(address)
            .with_context(|| format!("TCP {address} is taken ({whose}): end what listens there"))?;
    }
    for (whose, address) in [("sip.udp", settings.sip), ("the PBX", settings.pbx)] {
        UdpSocket::bind(address)
            .with_context(|| format!("UDP {address} is taken ({whose}): end what listens there"))?;
    }
    Ok(())
}

fn welcome(settings: &Settings) -> String {
    let Settings { http, https, sip, pbx, .. } = settings;
    let people: Vec<String> = DEMO_PEOPLE
        .iter()
        .map(|person| {
            format!(
                "  {:<6} {:<11} {}  {}",
                person.user,
                format!("{}-demo", person.user),
                person.extension,
                person.group
            )
        })
        .collect();
    format!(
        "\nThe demo is up. End it with Ctrl-C.\n\n  phone page   http://{http}/phone   (https://{https}/phone)\n  \
         SIP          {sip} UDP and TCP\n  PBX          {pbx}: 600 echoes, 601 speaks\n  \
         configuration {}\n\nLog in as alice and dial 600, 601 or 1002.\n\n  user   password    ext.  group\n{}\n",
        settings.config_file().display(),
        people.join("\n")
    )
}

/// The demo's own words to whoever started it.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
