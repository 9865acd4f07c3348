//! What the tests of faults need of a site: a stage, a gateway with an exit code, questions to it and to its database.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection};
use tandem::clock::Clock;
use tandem::demo::settings::Settings;
use tandem::demo::{Stage, http};
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};

/// How long a condition may take to come true, unless a test says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A stage on a loopback address of its own; with the simulated PBX or, without, SIPp in its place.
pub(crate) async fn set_stage(host: u8, simulated_pbx: bool) -> (tempfile::TempDir, Stage) {
    let directory = tempfile::tempdir().unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_tandem"));
    let address = Ipv4Addr::new(127, 0, 0, host);
    let settings = Settings { simulated_pbx, ..Settings::at(address, directory.path().to_owned(), program) };
    let stage = Stage::set(settings, Clock::system()).await.unwrap();
    (directory, stage)
}

/// Replaces texts in the gateway's configuration, each once; it is read at its next start.
pub(crate) fn edit_config(settings: &Settings, edits: &[(&str, &str)]) {
    let config = settings.config_file();
    let mut text = std::fs::read_to_string(&config).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    std::fs::write(&config, text).unwrap();
}

/// `tandem serve`, started without waiting until it is ready.
pub(crate) struct Serve(Child);

impl Serve {
    /// On the stage's configuration; its words go to the stage's log.
    pub(crate) fn start(settings: &Settings) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(settings.gateway_log()).unwrap();
        let mut command = Command::new(&settings.program);
        command.arg("serve").arg("--config").arg(settings.config_file());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        Self(command.spawn().unwrap())
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        signal(self.0.id().unwrap(), Signal::TERM);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, limit: Duration) -> ExitStatus {
        tokio::time::timeout(limit, self.0.wait()).await.expect("the gateway does not end").unwrap()
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Runs the program to its end.
pub(crate) async fn run(settings: &Settings, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(&settings.program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the program does not end").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// Asks again and again until there is an answer.
pub(crate) async fn wait_until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        loop {
            pause.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| panic!("waited {limit:?} in vain for {what}"))
}

/// Lets people talk.
pub(crate) async fn talk(time: Duration) {
    tokio::time::timeout(time, std::future::pending::<()>()).await.unwrap_err();
}

/// Waits until `/readyz` answers `status`; what it says.
pub(crate) async fn readyz(gateway: SocketAddr, status: u16, word: &str) -> String {
    wait_until(&format!("/readyz {status} {word}"), PATIENCE, async || {
        let answer = http::request(gateway, "GET", "/readyz", &[], b"").await.ok()?;
        let text = answer.text();
        (answer.status == status && text.contains(word)).then_some(text)
    })
    .await
}

/// The value of a counter of `/metrics`, such as `name{label="value"}`; 0 where it is not there.
pub(crate) async fn counter(gateway: SocketAddr, name: &str) -> f64 {
    let metrics = http::request(gateway, "GET", "/metrics", &[], b"").await.unwrap().text();
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().unwrap())
}

/// What the gateway has logged.
pub(crate) fn log(settings: &Settings) -> String {
    std::fs::read_to_string(settings.gateway_log()).unwrap()
}

/// The rows of a query.
pub(crate) async fn rows(url: &str, query: &'static str) -> Vec<PgRow> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(query).fetch_all(&mut connection).await.unwrap()
}

/// Waits until the stage's only recording is stored: its id, and who sealed it.
pub(crate) async fn stored(stage: &Stage) -> (String, String) {
    let url = stage.database.superuser_url();
    let query =
        "SELECT recording_id::text, state, coalesce(sealed_by, ''), coalesce(failure_detail, '') FROM recording";
    wait_until("the recording to be stored", PATIENCE, async || {
        let rows = rows(&url, query).await;
        assert!(rows.len() <= 1, "{} recordings", rows.len());
        let (id, state, by, failure): (String, String, String, String) =
            sqlx::FromRow::from_row(rows.first()?).unwrap();
        assert_ne!(state, "failed", "{failure}");
        (state == "stored").then_some((id, by))
    })
    .await
}

/// Every recording of the stage's vault verifies.
pub(crate) fn verify(stage: &Stage) {
    let vault = stage.settings.vault();
    let verified = stage.gateway.verb(&["recordings", "verify", vault.to_str().unwrap()]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// Sends an INVITE by hand from an address of its own. Its final answer, and how many media packets came meanwhile.
pub(crate) async fn invite(gateway: SocketAddr, extension: &str) -> (String, usize) {
    let socket = UdpSocket::bind((gateway.ip(), 0)).await.unwrap();
    let media = UdpSocket::bind((gateway.ip(), 0)).await.unwrap();
    let (local, port) = (socket.local_addr().unwrap(), media.local_addr().unwrap().port());
    let ip = local.ip();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    );
    let head = |method: &str, to_tag: &str| {
        format!(
            "{method} sip:{extension}@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKfault{port}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:100@{local}>;tag=f{port}\r\nTo: <sip:{extension}@{gateway}>{to_tag}\r\n\
             Call-ID: fault-{port}@{ip}\r\nCSeq: 1 {method}\r\nContact: <sip:100@{local}>\r\n"
        )
    };
    let body = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
    socket.send_to(format!("{}{body}", head("INVITE", "")).as_bytes(), gateway).await.unwrap();
    let mut buffer = vec![0; 4_096];
    let answer = loop {
        let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
        let length = received.expect("no final answer to the INVITE").unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !text.starts_with("SIP/2.0 1") {
            break text;
        }
    };
    let tag = answer.lines().find_map(|line| line.strip_prefix("To:")?.split_once(";tag=")).map_or("", |(_, tag)| tag);
    let ack = head("ACK", &format!(";tag={}", tag.trim()));
    socket.send_to(format!("{ack}Content-Length: 0\r\n\r\n").as_bytes(), gateway).await.unwrap();
    let heard = std::iter::from_fn(|| media.try_recv(&mut buffer).ok()).count();
    (answer, heard)
}

/// The UDP ports that are bound on an address, by the kernel's table.
pub(crate) fn udp_ports(address: Ipv4Addr) -> Vec<u16> {
    let ours = format!("{:08X}", u32::from_le_bytes(address.octets()));
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let local = table.lines().filter_map(|line| line.split_whitespace().nth(1)?.split_once(':'));
    local.filter(|(ip, _)| *ip == ours).map(|(_, port)| u16::from_str_radix(port, 16).unwrap()).collect()
}
