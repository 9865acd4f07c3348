//! Debian's linphonec, steered over its standard input; it plays a file and writes what it hears into another.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::demo::baresip::RATE;
use crate::demo::servers::command;
use crate::demo::wav::Wav;

/// How long it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Length of the header of a WAV file as it writes them.
const HEADER: usize = 44;

/// What a linphonec is to be.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it listens for SIP: UDP and TCP here, TLS on the next port.
    pub address: SocketAddr,
    /// The authority that it trusts (PEM), and that its media must be encrypted (SDES).
    pub secure: Option<PathBuf>,
    /// What it plays: mono, 8 kHz.
    pub tone: PathBuf,
    /// First of the 500 ports that its RTP may use.
    pub rtp_port: u16,
}

/// A running linphonec.
#[derive(Debug)]
pub struct Linphone {
    directory: PathBuf,
    child: Child,
    orders: ChildStdin,
    words: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Linphone {
    /// Starts it below `directory`, and returns once it listens.
    pub async fn start(directory: &Path, setup: &Setup) -> Result<Self> {
        // It keeps a database there, makes no directories, and does not begin without.
        for needed in [".local/share/linphone", ".linphone-usr-crt"] {
            fs::create_dir_all(directory.join(needed))?;
        }
        let directory = directory.canonicalize()?;
        fs::write(directory.join("rc"), configuration(setup))?;
        let mut command = command(Path::new("stdbuf"), &directory, None);
        command.args(["-oL", "linphonec", "-d", "5", "-l", "linphone.log", "-c", "rc"]);
        let errors = fs::File::create(directory.join("linphone.err"))?;
        command.env("HOME", &directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run linphonec (Debian package linphone-cli)")?;
        let orders = child.stdin.take().context("linphonec takes no orders")?;
        let words = BufReader::new(child.stdout.take().context("linphonec says nothing")?).lines();
        let mut phone = Self { directory, child, orders, words, said: Vec::new() };
        phone.order("soundcard use files").await?;
        phone.order(&format!("play {}", setup.tone.display())).await?;
        phone.order(&format!("record {}", phone.recording().display())).await?;
        let listens = tokio::time::timeout(PATIENCE, phone.listens()).await;
        listens.with_context(|| format!("linphonec does not listen; see {}", phone.directory.display()))??;
        Ok(phone)
    }

    /// It says so in its log alone.
    async fn listens(&mut self) -> Result<()> {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        while !self.log().contains("transport=TLS]") {
            pause.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("linphonec ended at once ({status})");
            }
        }
        Ok(())
    }

    /// Tells it something in its own words, such as `pause`.
    pub async fn order(&mut self, order: &str) -> Result<()> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.context("linphonec is gone")
    }

    /// Waits until it says something with `words` in it; the whole line. Lines before are gone.
    pub async fn wait_for(&mut self, words: &str, limit: Duration) -> Result<String> {
        let found = tokio::time::timeout(limit, self.find(words)).await;
        found.with_context(|| format!("linphonec waited {limit:?} to say {words:?}; it said {:#?}", self.said))?
    }

    async fn find(&mut self, words: &str) -> Result<String> {
        loop {
            let line = self.words.next_line().await?.context("linphonec is gone")?;
            let found = line.contains(words);
            self.said.push(line.clone());
            if found {
                return Ok(line);
            }
        }
    }

    fn recording(&self) -> PathBuf {
        self.directory.join("heard.wav")
    }

    /// What it heard so far. It writes the file's header last, so the samples are taken from where they begin.
    pub fn heard(&self) -> Result<Wav> {
        let file = fs::read(self.recording()).context("linphonec has heard nothing yet")?;
        let (rate, channels) = match Wav::parse(&file) {
            Ok(wav) => (wav.rate, wav.channels),
            Err(_) => (RATE, 1),
        };
        let samples = file.get(HEADER..).unwrap_or_default().as_chunks::<2>().0;
        Ok(Wav { rate, channels, samples: samples.iter().map(|pair| i16::from_le_bytes(*pair)).collect() })
    }

    /// What it wrote, its SIP messages among it.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("linphone.log")).unwrap_or_default()
    }

    /// Ends it, its calls with BYE.
    pub async fn stop(mut self) {
        if self.order("quit").await.is_err() || tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            tracing::debug!("linphonec is killed");
        }
    }
}

/// Without `bind_address` it would offer media on whatever the machine's default route has. It knows no addresses in
/// certificates, names alone, and loopback addresses have none: so it checks who signed the certificate, not for whom.
fn configuration(setup: &Setup) -> String {
    let Setup { address, secure, rtp_port, .. } = setup;
    let (ip, port, tls_port, rtp_last) = (address.ip(), address.port(), address.port() + 1, rtp_port + 498);
    let secure = secure.as_ref().map_or_else(
        || "media_encryption=none\n".to_owned(),
        // Whose certificate it is, is not asked: linphone compares names alone, and the gateway is called by its address.
        |authority| {
            format!(
                "media_encryption=srtp\nmedia_encryption_mandatory=1\nroot_ca={}\nverify_server_certs=0\n",
                authority.display()
            )
        },
    );
    format!(
        "[sip]\nsip_port={port}\nsip_tcp_port={port}\nsip_tls_port={tls_port}\nbind_address={ip}\n\
         contact=sip:phone@{ip}:{port}\nguess_hostname=0\nipv6_migration_done=1\nuse_ipv6=0\n{secure}\
         [rtp]\naudio_rtp_port={rtp_port}-{rtp_last}\nbind_address={ip}\n\
         [sound]\nechocancellation=0\n"
    )
}
