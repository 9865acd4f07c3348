//! The composition root: builds every shell from the configuration and wires them. The only room that knows all rooms.

mod background;
#[cfg(test)]
mod hold_tests;
mod media;
mod trace;
mod wires;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use rand::RngCore as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::auth::io::desk::Desk;
use crate::auth::io::directory::Directory;
use crate::auth::io::ldap::LdapDirectory;
use crate::call::io::record_backlog::RecordBacklog;
use crate::call::io::records;
use crate::call::io::records::RecordKeeper;
use crate::call::io::registry::Registry;
use crate::call::io::rooms::Control;
use crate::call::io::rooms::Events;
use crate::clock::Clock;
use crate::config::Config;
use crate::ids::NodeId;
use crate::limits;
use crate::recording;
use crate::recording::io::catalog::Catalog;
use crate::recording::io::export::Vault;
use crate::recording::io::keys;
use crate::recording::io::object_store::VaultStore;
use crate::recording::io::thread::RecorderHandle;
use crate::recording::io::thread::TapSource;
use crate::signaling::io::presence::Presence;
use crate::signaling::io::socket::SocketServer;
use crate::sip;
use crate::store::Pool;
use crate::store::audit::PostgresAudit;
use crate::store::call_records::CallRecords;
use crate::store::catalog::PostgresCatalog;
use wires::Wires;

/// PostgreSQL connections of one node.
const DATABASE_CONNECTIONS: u32 = 10;

/// A gateway that runs. Ended by [`crate::shutdown::run`].
pub struct Gateway {
    /// New calls, live calls, and when there are none.
    pub(crate) control: mpsc::Sender<Control>,
    /// For telling the trunks that no more calls are taken.
    pub(crate) sip: sip::io::task::SipHandle,
    /// For telling the browsers.
    pub(crate) presence: Arc<Presence>,
    /// For sealing what is open.
    pub(crate) recorder: RecorderHandle,
    /// The workers, to be ended and joined.
    pub(crate) workers: media::Workers,
    /// Ends HTTP and the background tasks.
    pub(crate) stop_edges: CancellationToken,
    /// Ends the SIP task, after the last BYE has its answer.
    pub(crate) stop_sip: CancellationToken,
    /// Every task of the gateway.
    pub(crate) tasks: TaskTracker,
    /// How long a shutdown waits for calls.
    pub(crate) drain_timeout: Duration,
    /// Retry-After of the refusals meanwhile.
    pub(crate) retry_after: Duration,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// What several builders need.
struct Base {
    clock: Clock,
    chance: StdRng,
    tasks: TaskTracker,
    stop_edges: CancellationToken,
}

impl Base {
    /// A generator of its own for one machine.
    fn chance(&mut self) -> StdRng {
        StdRng::from_rng(&mut self.chance)
    }
}

/// The index and who reads it.
struct Index {
    pool: Pool,
    catalog: Arc<dyn Catalog>,
}

/// Builds and starts everything; returns once every port is bound.
pub async fn build(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Gateway> {
    let (tasks, stop_edges, stop_sip) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let mut base = Base { clock: Clock::system(), chance: StdRng::from_os_rng(), tasks, stop_edges };
    let node = keys::load_or_generate_node_key(&config.recording.node_key_file, &mut base.chance)?.node();
    tracing::info!(name = config.node_name, %node, version = env!("CARGO_PKG_VERSION"), "starting");

    // Ports first: a taken one is said before anything else has begun.
    let (tracer, observations) = crate::trace::io::channel(base.clock);
    let chance = base.chance().next_u64();
    let transports = sip_transports(&config, &tracer, chance).await?;
    let listen = api::serve::Listen { http: config.http.plain, https: config.http.tls.clone().map(https) };
    let listeners = api::serve::Listeners::bind(&listen)?;

    let index = index(&config, node, &base)?;
    trace::start(observations, &index.pool, &base);
    let (worker_events, from_workers) = mpsc::channel(limits::WORKER_EVENTS);
    let (workers, sources) = media::start(&config, &mut base, &worker_events)?;
    let (recorder, from_recorder) = start_recorder(&config, &mut base, sources, &index)?;
    let (signaling_events, from_browsers) = mpsc::channel(limits::WORKER_EVENTS);
    let chance = Box::new(base.chance());
    let presence = Presence::new(config.signaling.clone(), base.clock, chance, signaling_events, base.tasks.clone());

    let (sip_handle, from_trunks) = start_sip(&config, transports, &mut base, stop_sip.clone());
    let (record_queue, records_of_calls) = mpsc::channel(limits::CALL_RECORDS_QUEUE);
    let keeper = Arc::new(CallRecords::new(index.pool.clone()));
    let backlog = RecordBacklog::open(&config.recording.spool_dir.join("call-records"))
        .context("the backlog of call records cannot be opened in the spool")?;
    let keeper = RecordKeeper::new(keeper, backlog, records::Backoff::default())
        .context("the backlog of call records cannot be read")?;
    base.tasks.spawn(keeper.run(records_of_calls));

    let wires = Wires {
        sip: sip_handle.clone(),
        workers: workers.handles(),
        recorder: recorder.clone(),
        presence: Arc::clone(&presence),
        records: record_queue,
        tracer,
    };
    let (control, controls) = mpsc::channel(8);
    let call_config = Arc::new(config.call.clone());
    let registry = Registry::new(Arc::new(wires), call_config, base.clock, base.chance());
    let events = Events {
        sip: from_trunks,
        worker: from_workers,
        signaling: from_browsers,
        recorder: from_recorder,
        control: controls,
    };
    base.tasks.spawn(registry.run(events));

    serve_http(&config, &mut base, listeners, (&index, &presence), metrics)?;
    tracing::info!(sip = ?config.sip.udp, "ready for calls");
    Ok(Gateway {
        control,
        sip: sip_handle,
        presence,
        recorder,
        workers,
        stop_edges: base.stop_edges,
        stop_sip,
        tasks: base.tasks,
        drain_timeout: config.drain_timeout,
        retry_after: config.call.retry_after,
    })
}

/// Recovers what the last run left, and starts the recorder.
fn start_recorder(
    config: &Config,
    base: &mut Base,
    sources: Vec<Box<dyn TapSource>>,
    index: &Index,
) -> anyhow::Result<(RecorderHandle, mpsc::Receiver<recording::Event>)> {
    let (events, from_recorder) = mpsc::channel(limits::WORKER_EVENTS);
    let (chance, catalog) = (Box::new(base.chance()), Arc::clone(&index.catalog));
    let recorder = recording::io::thread::spawn(&config.recording, base.clock, chance, sources, catalog, events)?;
    Ok((recorder, from_recorder))
}

fn start_sip(
    config: &Config,
    transports: sip::io::Transports,
    base: &mut Base,
    stop: CancellationToken,
) -> (sip::io::task::SipHandle, mpsc::Receiver<sip::Event>) {
    let (handle, commands) = sip::io::task::commands();
    let (events, from_trunks) = mpsc::channel(limits::WORKER_EVENTS);
    let agent = sip::user_agent::UserAgent::new(user_agent(config, &transports, base.clock), base.chance());
    base.tasks.spawn(sip::io::task::run(agent, transports, commands, events, base.clock, stop));
    (handle, from_trunks)
}

fn https(
    (address, certificate_file, key_file): (std::net::SocketAddr, std::path::PathBuf, std::path::PathBuf),
) -> api::serve::Https {
    api::serve::Https { address, certificate_file, key_file }
}

async fn sip_transports(
    config: &Config,
    tracer: &crate::trace::io::Tracer,
    chance: u64,
) -> anyhow::Result<sip::io::Transports> {
    let networks: Vec<_> = config.trunks_outside().flat_map(|trunk| trunk.networks.clone()).collect();
    let bind = |address, key: &str| sip::io::Bind { address, key: key.to_owned() };
    let all = |addresses: &[std::net::SocketAddr], key| addresses.iter().map(|address| bind(*address, key)).collect();
    let transports = sip::io::Config {
        udp: all(&config.sip.udp, "sip.udp"),
        tcp: all(&config.sip.tcp, "sip.tcp"),
        tls: all(&config.sip.tls, "sip.tls"),
        tls_files: config.sip.tls_files.clone(),
        keep_alive: config.sip.keep_alive,
        places: config.sip.places.clone(),
        nameservers: config.sip.nameservers.clone(),
        chance,
        is_trunk: Arc::new(move |address| networks.iter().any(|network| network.contains(address))),
        tap: trace::tap(tracer.clone()),
        quirk_tap: trace::quirk_tap(tracer.clone()),
        ..sip::io::Config::default()
    };
    Ok(sip::io::Transports::bind(transports).await?)
}

fn user_agent(config: &Config, transports: &sip::io::Transports, clock: Clock) -> sip::user_agent::Config {
    let listen = |transport| move |address| sip::user_agent::Listen { transport, address };
    let udp = transports.udp_addresses().into_iter().map(listen(sip::Transport::Udp));
    let tcp = transports.tcp_addresses().iter().copied().map(listen(sip::Transport::Tcp));
    let tls = transports.tls_addresses().iter().copied().map(listen(sip::Transport::Tls));
    sip::user_agent::Config {
        listen: udp.chain(tcp).chain(tls).collect(),
        trunks: config.trunks.clone(),
        overload_retry_after: config.call.retry_after,
        emergency: config.call.dial_plan.emergency.numbers.clone(),
        ..sip::user_agent::Config::new(clock)
    }
}

/// Connects nowhere yet: a database that is away costs no call.
fn index(config: &Config, node: NodeId, base: &Base) -> anyhow::Result<Index> {
    let pool = Pool::new(config.database_url.expose_secret(), DATABASE_CONNECTIONS, node)
        .context("database.url cannot be used")?;
    base.tasks.spawn(pool.clone().watch_health(base.stop_edges.clone()));
    base.tasks.spawn(background::make_partitions(pool.clone(), base.clock, base.stop_edges.clone()));
    let catalog = Arc::new(PostgresCatalog::new(pool.clone()));
    Ok(Index { pool, catalog })
}

fn serve_http(
    config: &Config,
    base: &mut Base,
    listeners: api::serve::Listeners,
    (index, presence): (&Index, &Arc<Presence>),
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let ldap = Arc::new(LdapDirectory::new(config.ldap.clone()).context("[ldap] cannot be used")?);
    let ldap_health = background::watch_directory(&base.tasks, Arc::clone(&ldap), base.stop_edges.clone());
    let secret = login_secret(config.login_secret_file.as_deref(), &mut base.chance)?;
    let desk = Arc::new(Desk::new(config.desk.clone(), &secret, base.chance()));
    base.tasks.spawn(background::close_logged_out(Arc::clone(&desk), Arc::clone(presence), base.stop_edges.clone()));
    base.tasks.spawn(background::sweep(Arc::clone(&desk), base.clock, base.stop_edges.clone()));
    let dependency = |name, required, health| api::Dependency { name, required, health };
    let directory: Arc<dyn Directory> = ldap;
    let state = api::ApiState::new(api::ApiParts {
        config: api::ApiConfig {
            origins: config.signaling.origins.iter().cloned().collect(),
            ..api::ApiConfig::default()
        },
        desk: Arc::clone(&desk),
        directory,
        audit: Arc::new(PostgresAudit::new(index.pool.clone())),
        catalog: Arc::clone(&index.catalog),
        audio: vault(config, &index.catalog)?.map(|vault| Arc::new(vault) as Arc<dyn api::audio::AudioSource>),
        dependencies: vec![
            dependency("database", true, index.pool.health()),
            dependency("directory", true, ldap_health),
        ],
        metrics: Some(metrics),
        clock: base.clock,
    });
    let verifier = Arc::new(wires::Tokens { desk, clock: base.clock });
    let socket_server = SocketServer::new(Arc::clone(presence), verifier);
    let more = api::signal::routes(socket_server).merge(api::assets::routes());
    let router = api::router(state, more);
    let stop = base.stop_edges.clone();
    base.tasks.spawn(async move {
        if let Err(error) = listeners.serve(router, stop).await {
            tracing::error!("HTTP ended: {}", crate::telemetry::error_chain::ErrorChain(&error));
        }
    });
    Ok(())
}

/// The vault, where this node may play.
pub(crate) fn vault(config: &Config, catalog: &Arc<dyn Catalog>) -> anyhow::Result<Option<Vault>> {
    let Some(file) = &config.vault_private_key_file else { return Ok(None) };
    let key = keys::load_vault_key(file)?;
    let store = VaultStore::local(&config.recording.store_dir)?;
    let spool = config.recording.spool_dir.clone();
    Ok(Some(Vault::new(Arc::clone(catalog), store, spool, Some(Arc::new(key)))))
}

/// The key of cookies and tokens: from its file, which is made where absent, or a new one for this run.
fn login_secret(file: Option<&Path>, chance: &mut StdRng) -> anyhow::Result<[u8; 32]> {
    if let Some(file) = file {
        Ok(keys::load_or_generate_secret(file, "tandem-login-secret", chance)?)
    } else {
        let mut secret = [0; 32];
        chance.fill_bytes(&mut secret);
        Ok(secret)
    }
}
