//! A baresip of Debian's, steered over its control connection: the simulated PBX, or a phone of the tests.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;

use crate::demo::ladder::Ladder;
use crate::demo::pbx_trace::SipTrace;
use crate::demo::servers::command;
use crate::demo::wav::Wav;

/// Rate of everything that it plays and hears, in hertz.
pub(super) const RATE: u32 = 8_000;
/// How long baresip may take to start or to do as told.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Largest message on the control connection.
const CONTROL_MAX: usize = 65_536;
/// Events that wait for somebody to ask for them; the oldest go first.
const EVENTS_MAX: usize = 256;

/// What a baresip is to be.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it listens for SIP: UDP and TCP here, TLS on the next port.
    pub address: SocketAddr,
    /// Its accounts, in baresip's own words.
    pub accounts: Vec<String>,
    /// For TLS: its certificate with its key, and the authority that it trusts, as PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// First of the 500 ports that its RTP may use.
    pub rtp_port: u16,
}

/// A running baresip.
#[derive(Debug)]
pub struct Baresip {
    directory: PathBuf,
    address: SocketAddr,
    control: BufReader<TcpStream>,
    child: Child,
    trace: JoinHandle<()>,
    events: VecDeque<Value>,
}

impl Baresip {
    /// Starts it below `directory`.
    pub async fn start(directory: &Path, setup: &Setup, ladder: Option<Ladder>) -> Result<Self> {
        let address = setup.address;
        let control = free_address()?;
        write_files(directory, setup, control)?;
        let directory = directory.canonicalize()?;
        let mut command = command(Path::new("stdbuf"), &directory, None);
        command.args(["-oL", "baresip", "-4", "-s", "-f"]).arg(&directory);
        let log = fs::File::create(directory.join("baresip.err"))?;
        command.env("HOME", &directory).stdout(Stdio::piped()).stderr(log);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run baresip (Debian package baresip-core)")?;
        let output = child.stdout.take().context("baresip has no output")?;
        let trace =
            tokio::spawn(follow(output, directory.join("baresip.log"), SipTrace::new(address.to_string()), ladder));
        let stream = tokio::time::timeout(PATIENCE, connect(control, &mut child));
        let stream =
            stream.await.with_context(|| format!("baresip does not answer; see {}", directory.display()))??;
        let control = BufReader::new(stream);
        let mut phone = Self { directory, address, control, child, trace, events: VecDeque::new() };
        phone.check_address().await?;
        Ok(phone)
    }

    /// baresip goes on without SIP when its port is taken: so let it do something first, then read what it said.
    async fn check_address(&mut self) -> Result<()> {
        self.command("reginfo", "").await?;
        let log = self.log();
        ensure!(
            !log.contains("Address already in use"),
            "baresip's address {} is taken: end what listens there",
            self.address
        );
        Ok(())
    }

    /// Calls `target`, such as `sip:1001@127.0.0.1:5060;transport=tcp`, from one of its accounts.
    pub async fn dial(&mut self, account: &str, target: &str) -> Result<()> {
        self.events.clear();
        self.command("uafind", account).await?;
        self.command("dial", target).await.map(drop)
    }

    /// Waits for an event of a call, such as `CALL_ESTABLISHED`, with its parameter.
    pub async fn wait_for(&mut self, event: &str, limit: Duration) -> Result<String> {
        let found = tokio::time::timeout(limit, self.find_event(event)).await;
        found.with_context(|| format!("baresip waited {limit:?} for {event}"))?
    }

    async fn find_event(&mut self, event: &str) -> Result<String> {
        loop {
            let message = match self.events.pop_front() {
                Some(message) => message,
                None => self.receive().await?,
            };
            match message.get("type").and_then(Value::as_str) {
                Some(kind) if kind == event => {
                    return Ok(message.get("param").and_then(Value::as_str).unwrap_or_default().to_owned());
                }
                Some("CALL_CLOSED") => bail!("baresip's call ended: {message}"),
                _ => {}
            }
        }
    }

    /// Ends its call.
    pub async fn hang_up(&mut self) -> Result<()> {
        self.command("hangup", "").await.map(drop)
    }

    /// What it heard in the calls since [`Self::forget`], as baresip decoded it: one file a stream.
    pub fn heard(&self) -> Result<Vec<Wav>> {
        self.recordings("-dec.wav")?.iter().map(|path| Wav::parse(&fs::read(path)?)).collect()
    }

    /// Removes what was heard so far.
    pub fn forget(&self) -> Result<()> {
        Ok(self.recordings(".wav")?.iter().try_for_each(fs::remove_file)?)
    }

    /// Ends it, its calls with BYE.
    pub async fn stop(mut self) {
        if self.command("quit", "").await.is_err() || tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::debug!("baresip is killed");
        }
    }

    /// What it said, its SIP messages among it.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("baresip.log")).unwrap_or_default()
    }

    /// Tells it something in its own words, such as `hold` or `sndcode 5`, and waits until it has done it.
    pub async fn command(&mut self, name: &str, parameters: &str) -> Result<Value> {
        let text = json!({"command": name, "params": parameters, "token": name}).to_string();
        let frame = format!("{}:{text},", text.len());
        self.control.get_mut().write_all(frame.as_bytes()).await.context("baresip is gone")?;
        let answer = tokio::time::timeout(PATIENCE, self.find_answer(name)).await;
        let answer = answer.with_context(|| format!("baresip does not answer {name}"))??;
        ensure!(answer.get("ok") == Some(&Value::Bool(true)), "baresip refused {name} {parameters}: {answer}");
        Ok(answer)
    }

    async fn find_answer(&mut self, token: &str) -> Result<Value> {
        loop {
            let message = self.receive().await?;
            if message.get("response").is_some() && message.get("token").and_then(Value::as_str) == Some(token) {
                return Ok(message);
            }
            if self.events.len() == EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(message);
        }
    }

    /// One netstring of JSON.
    async fn receive(&mut self) -> Result<Value> {
        let mut length = Vec::new();
        self.control.read_until(b':', &mut length).await?;
        let length: usize = std::str::from_utf8(&length)?.trim_end_matches(':').parse().context("baresip is gone")?;
        ensure!(length < CONTROL_MAX, "a control message of {length} bytes");
        let mut body = vec![0; length + 1];
        self.control.read_exact(&mut body).await?;
        body.pop();
        Ok(serde_json::from_slice(&body)?)
    }

    /// The files of what was heard (`-dec.wav`) and said (`-enc.wav`), the oldest first.
    pub(super) fn recordings(&self, ending: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.directory.join("heard"))? {
            found.push(entry?.path());
        }
        found.retain(|path| path.to_string_lossy().ends_with(ending));
        found.sort();
        Ok(found)
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        self.trace.abort();
    }
}

/// Connects to the control port once it is there.
async fn connect(control: SocketAddr, child: &mut Child) -> Result<TcpStream> {
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    loop {
        pause.tick().await;
        if let Some(status) = child.try_wait()? {
            bail!("baresip ended at once ({status})");
        }
        if let Ok(stream) = TcpStream::connect(control).await {
            return Ok(stream);
        }
    }
}

/// Copies baresip's output to its log, and its SIP trace to the ladder.
async fn follow(output: ChildStdout, log: PathBuf, mut trace: SipTrace, ladder: Option<Ladder>) {
    let mut lines = BufReader::new(output).lines();
    let Ok(mut log) = tokio::fs::File::create(log).await else { return };
    while let Ok(Some(line)) = lines.next_line().await {
        if let (Some(ladder), Some((from, to, text))) = (&ladder, trace.line(&line)) {
            ladder.note(from, to, text);
        }
        if log.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// baresip's configuration and its accounts.
fn write_files(directory: &Path, setup: &Setup, control: SocketAddr) -> Result<()> {
    fs::create_dir_all(directory.join("heard"))?;
    let directory = directory.canonicalize()?;
    let modules = module_directory()?;
    let Setup { address, rtp_port, .. } = setup;
    let mut config = format!(
        "poll_method epoll\nsip_listen {address}\nnet_interface {ip}\ncall_local_timeout 120\ncall_max_calls 100\n\
         audio_player aubridge,nobody\naudio_source ausine,400\naudio_alert aubridge,nobody\n\
         ausrc_srate {RATE}\nauplay_srate {RATE}\nausrc_channels 1\nauplay_channels 1\naudio_buffer 20-160\n\
         rtp_ports {rtp_port}-{rtp_last}\nrtcp_mux no\njitter_buffer_delay 5-10\nrtp_stats no\n\
         module_path {modules}\nmodule g711.so\nmodule aufile.so\nmodule ausine.so\nmodule aubridge.so\nmodule sndfile.so\n\
         module srtp.so\nmodule_tmp account.so\nmodule_app ctrl_tcp.so\nmodule_app menu.so\n\
         ctrl_tcp_listen {control}\nsnd_path {heard}\n",
        ip = address.ip(),
        rtp_last = rtp_port + 498,
        modules = modules.display(),
        heard = directory.join("heard").display(),
    );
    if let Some((certificate, authority)) = &setup.tls {
        writeln!(config, "sip_certificate {}\nsip_cafile {}", certificate.display(), authority.display())?;
    }
    fs::write(directory.join("config"), config)?;
    fs::write(directory.join("accounts"), setup.accounts.join("\n") + "\n")?;
    fs::write(directory.join("contacts"), "")?;
    Ok(())
}

fn module_directory() -> Result<PathBuf> {
    let places = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];
    let found = places.iter().map(PathBuf::from).find(|place| place.is_dir());
    found.context("no modules of baresip found (Debian package baresip-core)")
}
