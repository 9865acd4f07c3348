//! The simulated PBX: Debian's baresip, steered over its control connection.
//!
//! It echoes on 600, speaks on 601, and rings an agent on request, playing a tone made here and recording what it
//! hears as baresip decoded it. No line of it is ours, so agreement with ourselves cannot pass for a call.

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
use crate::demo::tone::Sine;
use crate::demo::voice;
use crate::demo::wav::Wav;

/// Rate of everything the PBX plays.
const RATE: u32 = 8_000;
/// The tone that the PBX plays to an agent, in hertz.
pub const TONE_HZ: f64 = 1_000.0;
/// How long it plays that tone before it hangs up.
const TONE_SECONDS: usize = 60;
/// How often 601 says its piece before it hangs up.
const SPEECH_ROUNDS: usize = 8;
/// How long baresip may take to start or to do as told.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest message on the control connection.
const CONTROL_MAX: usize = 65_536;

/// A running baresip.
#[derive(Debug)]
pub struct Pbx {
    directory: PathBuf,
    address: SocketAddr,
    control: BufReader<TcpStream>,
    child: Child,
    trace: JoinHandle<()>,
}

impl Pbx {
    /// Starts it below `directory`, listening for SIP over UDP and TCP on `address`.
    pub async fn start(directory: &Path, address: SocketAddr, ladder: Option<Ladder>) -> Result<Self> {
        let control = free_address()?;
        write_files(directory, address, control)?;
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
        let mut pbx = Self { directory, address, control: BufReader::new(stream), child, trace };
        pbx.check_address(address).await?;
        Ok(pbx)
    }

    /// baresip goes on without SIP when its port is taken: so ask it for a listener of its own.
    async fn check_address(&mut self, address: SocketAddr) -> Result<()> {
        self.command("uafind", &format!("sip:pbx@{address}")).await?;
        let log = fs::read_to_string(self.directory.join("baresip.log")).unwrap_or_default();
        ensure!(
            !log.contains("Address already in use"),
            "the PBX's address {address} is taken: end what listens there"
        );
        Ok(())
    }

    /// Rings `target`, such as `sip:1001@127.0.0.1:5060`.
    pub async fn ring(&mut self, target: &str) -> Result<()> {
        self.command("uafind", &format!("sip:pbx@{}", self.address)).await?;
        self.command("dial", target).await.map(drop)
    }

    /// Waits for an event of a call, such as `CALL_ESTABLISHED`.
    pub async fn wait_for(&mut self, event: &str, limit: Duration) -> Result<()> {
        let found = tokio::time::timeout(limit, self.find_event(event)).await;
        found.with_context(|| format!("the PBX waited {limit:?} for {event}"))?
    }

    async fn find_event(&mut self, event: &str) -> Result<()> {
        loop {
            let message = self.receive().await?;
            match message.get("type").and_then(Value::as_str) {
                Some(kind) if kind == event => return Ok(()),
                Some("CALL_CLOSED") => bail!("the PBX's call ended: {message}"),
                _ => {}
            }
        }
    }

    /// Ends the PBX's call.
    pub async fn hang_up(&mut self) -> Result<()> {
        self.command("hangup", "").await.map(drop)
    }

    /// What the PBX heard in the calls since [`Self::forget`], as baresip decoded it: one file a call.
    pub fn heard(&self) -> Result<Vec<Wav>> {
        let mut files = recordings(&self.directory)?;
        files.retain(|path| path.to_string_lossy().ends_with("-dec.wav"));
        files.sort();
        files.iter().map(|path| Wav::parse(&fs::read(path)?)).collect()
    }

    /// Removes what was heard so far.
    pub fn forget(&self) -> Result<()> {
        Ok(recordings(&self.directory)?.iter().try_for_each(fs::remove_file)?)
    }

    /// Ends it, its calls with BYE.
    pub async fn stop(mut self) {
        if self.command("quit", "").await.is_err() || tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::debug!("baresip is killed");
        }
    }

    async fn command(&mut self, name: &str, parameters: &str) -> Result<Value> {
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
}

impl Drop for Pbx {
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

fn recordings(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory.join("heard"))? {
        found.push(entry?.path());
    }
    Ok(found)
}

fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// baresip's configuration, its accounts, and what it plays.
fn write_files(directory: &Path, address: SocketAddr, control: SocketAddr) -> Result<()> {
    let heard = directory.join("heard");
    fs::create_dir_all(&heard)?;
    let directory = directory.canonicalize()?;
    let tone = directory.join("tone.wav");
    let speech = directory.join("speech.wav");
    fs::write(&tone, Wav::mono(RATE, &Sine::new(TONE_HZ, RATE).take(TONE_SECONDS * RATE as usize))?)?;
    fs::write(&speech, Wav::mono(RATE, &voice::vowels(RATE).repeat(SPEECH_ROUNDS))?)?;
    let modules = module_directory()?;
    let config = format!(
        "poll_method epoll\nsip_listen {address}\nnet_interface {ip}\ncall_local_timeout 120\ncall_max_calls 100\n\
         audio_player aubridge,nobody\naudio_source ausine,400\naudio_alert aubridge,nobody\n\
         ausrc_srate {RATE}\nauplay_srate {RATE}\nausrc_channels 1\nauplay_channels 1\naudio_buffer 20-160\n\
         rtp_ports 30000-30998\nrtcp_mux no\njitter_buffer_delay 5-10\nrtp_stats no\n\
         module_path {modules}\nmodule g711.so\nmodule aufile.so\nmodule ausine.so\nmodule aubridge.so\nmodule sndfile.so\n\
         module_tmp account.so\nmodule_app ctrl_tcp.so\nmodule_app menu.so\n\
         ctrl_tcp_listen {control}\nsnd_path {heard}\n",
        ip = address.ip(),
        modules = modules.display(),
        heard = directory.join("heard").display(),
    );
    fs::write(directory.join("config"), config)?;
    let common = "regint=0;audio_codecs=PCMU/8000/1,PCMA/8000/1";
    let accounts = format!(
        "<sip:600@{address}>;{common};answermode=auto;audio_source=aubridge,loop;audio_player=aubridge,loop\n\
         <sip:601@{address}>;{common};answermode=auto;audio_source=aufile,{speech};audio_player=aubridge,ear601\n\
         <sip:pbx@{address}>;{common};audio_source=aufile,{tone};audio_player=aubridge,earpbx\n",
        speech = speech.display(),
        tone = tone.display(),
    );
    fs::write(directory.join("accounts"), accounts)?;
    fs::write(directory.join("contacts"), "")?;
    Ok(())
}

fn module_directory() -> Result<PathBuf> {
    let places = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];
    let found = places.iter().map(PathBuf::from).find(|place| place.is_dir());
    found.context("no modules of baresip found (Debian package baresip-core)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::sipp::Scenario;
    use crate::demo::tone::ToneFigure;

    /// SIPp stands in for the gateway: it answers and reflects, so the PBX must hear its own tone.
    #[tokio::test]
    async fn the_pbx_rings_plays_its_tone_and_records_what_it_hears() {
        let directory = tempfile::tempdir().unwrap();
        let mut pbx = Pbx::start(directory.path(), "127.0.0.1:5971".parse().unwrap(), None).await.unwrap();
        let listens = "127.0.0.12:5972".parse().unwrap();
        let sipp = Scenario::outbound("selftest/uas_reflects", listens).with(&["-rtp_echo"]).start().unwrap();
        pbx.ring("sip:1001@127.0.0.12:5972").await.unwrap();
        pbx.wait_for("CALL_ESTABLISHED", PATIENCE).await.unwrap();
        tokio::time::timeout(Duration::from_secs(3), std::future::pending::<()>()).await.unwrap_err();
        pbx.hang_up().await.unwrap();
        sipp.finish().await.unwrap();
        let heard = pbx.heard().unwrap();
        assert_eq!(heard.len(), 1);
        let figure = ToneFigure::of(&heard[0].samples, heard[0].rate, TONE_HZ);
        assert!(figure.seconds >= 1.5, "{figure}");
        assert_eq!(ToneFigure::of(&heard[0].samples, heard[0].rate, 440.0).begins_at, None);
        pbx.forget().unwrap();
        assert!(pbx.heard().unwrap().is_empty());
        pbx.stop().await;
    }
    /// What the PBX sent in its last call, which the far side ended.
    async fn sent(pbx: &mut Pbx) -> Wav {
        pbx.wait_for("CALL_CLOSED", PATIENCE).await.unwrap();
        // baresip closes the file after the event, but before it takes another command.
        pbx.command("uafind", &format!("sip:pbx@{}", pbx.address)).await.unwrap();
        let files = recordings(&pbx.directory).unwrap();
        let sent = files.iter().find(|path| path.to_string_lossy().ends_with("-enc.wav")).unwrap();
        Wav::parse(&fs::read(sent).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn extension_600_echoes_and_601_speaks() {
        let directory = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:5973".parse().unwrap();
        let mut pbx = Pbx::start(directory.path(), address, None).await.unwrap();
        Scenario::inbound("uac_answered", 18, address, "600").run().await.unwrap();
        let echo = sent(&mut pbx).await;
        let figure = ToneFigure::of(&echo.samples, echo.rate, 440.0);
        assert!(figure.seconds >= 1.0, "{figure}");

        pbx.forget().unwrap();
        Scenario::inbound("uac_answered", 19, address, "601").run().await.unwrap();
        let speech = sent(&mut pbx).await;
        assert!(speech.samples.iter().any(|sample| sample.abs() > 3_000));
        assert!(ToneFigure::of(&speech.samples, speech.rate, 440.0).seconds < 0.5, "it is no echo");
        pbx.stop().await;
    }
}
