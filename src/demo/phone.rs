//! The two user agents of Debian's that the tests call and are called by, behind the same verbs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::demo::baresip::{self, Baresip, PATIENCE, RATE};
use crate::demo::linphone::{self, Linphone};
use crate::demo::servers::Authority;
use crate::demo::tone::Sine;
use crate::demo::wav::Wav;
use crate::sip::Transport;

/// How long a phone plays its tone: longer than any test.
const TONE_SECONDS: usize = 120;
/// A key's tone and the pause after it.
const KEY_TIME: Duration = Duration::from_millis(300);

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// baresip 1.0, with its control connection.
    Baresip,
    /// linphonec 5.1.
    Linphone,
}

/// What a phone is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which program.
    pub make: Make,
    /// How it speaks SIP. By TLS its media is encrypted, too (SDES), and the gateway's authority is the only trusted one.
    pub transport: Transport,
    /// Its number.
    pub number: String,
    /// Its port on 127.0.0.1, for UDP and TCP; the next one is for TLS.
    pub port: u16,
    /// Its tone, in hertz.
    pub hz: f64,
    /// The gateway's authority (PEM).
    pub trusts: PathBuf,
}

/// A running phone that plays a tone in its calls.
#[derive(Debug)]
pub struct Phone {
    transport: Transport,
    number: String,
    port: u16,
    program: Program,
    heard_before: usize,
}

#[derive(Debug)]
enum Program {
    Baresip(Box<Baresip>),
    Linphone(Box<Linphone>),
}

impl Phone {
    /// Starts it below `directory`. A file `phone-ca.pem` there has the authority of its own certificate.
    pub async fn start(directory: &Path, plan: &Plan) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let tone = directory.join("tone.wav");
        fs::write(&tone, Wav::mono(RATE, &Sine::new(plan.hz, RATE).take(TONE_SECONDS * RATE as usize))?)?;
        let certificate = write_certificate(&directory)?;
        let secure = plan.transport == Transport::Tls;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, plan.port));
        // Its ports for RTP lie apart from those of every other phone and of the simulated PBX.
        let rtp_port = 31_000 + plan.port % 10 * 1_000;
        let program = match plan.make {
            Make::Baresip => {
                let transport = parameter(plan.transport);
                let encryption = if secure { ";mediaenc=srtp-mand" } else { "" };
                let account = format!(
                    "<sip:{}@{address}{transport}>;regint=0;audio_codecs=PCMU/8000/1,PCMA/8000/1;answermode=manual{encryption}\
                     ;audio_source=aufile,{};audio_player=aubridge,ear",
                    plan.number,
                    tone.display()
                );
                let tls = Some((certificate, plan.trusts.clone()));
                let setup = baresip::Setup { address, accounts: vec![account], tls, rtp_port };
                Program::Baresip(Box::new(Baresip::start(&directory, &setup, None).await?))
            }
            Make::Linphone => {
                let secure = secure.then(|| plan.trusts.clone());
                let setup = linphone::Setup { address, secure, tone, rtp_port };
                Program::Linphone(Box::new(Linphone::start(&directory, &setup).await?))
            }
        };
        let Plan { transport, number, port, .. } = plan.clone();
        Ok(Self { transport, number, port, program, heard_before: 0 })
    }

    /// A trunk's target that is this phone.
    pub fn target(&self) -> String {
        let (word, port) = match self.transport {
            Transport::Udp => ("udp", self.port),
            Transport::Tcp => ("tcp", self.port),
            Transport::Tls => ("tls", self.port + 1),
        };
        format!("{word}:{}:{port}", Ipv4Addr::LOCALHOST)
    }

    /// Calls an extension at a gateway's address.
    pub async fn dial(&mut self, extension: &str, gateway: SocketAddr) -> Result<()> {
        let to = format!("sip:{extension}@{gateway}{}", parameter(self.transport));
        let account = format!("sip:{}@{}:{}", self.number, Ipv4Addr::LOCALHOST, self.port);
        match &mut self.program {
            Program::Baresip(baresip) => baresip.dial(&account, &to).await,
            Program::Linphone(linphone) => linphone.order(&format!("call {to}")).await,
        }
    }

    /// Waits until it rings, and answers.
    pub async fn answer(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(baresip) => {
                baresip.wait_for("CALL_INCOMING", PATIENCE).await?;
                baresip.command("accept", "").await.map(drop)
            }
            Program::Linphone(linphone) => {
                linphone.wait_for("Receiving new incoming call", PATIENCE).await?;
                linphone.order("answer").await
            }
        }
    }

    /// Waits until its call is answered.
    pub async fn established(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(baresip) => baresip.wait_for("CALL_ESTABLISHED", PATIENCE).await.map(drop),
            Program::Linphone(linphone) => linphone.wait_for("Media streams established", PATIENCE).await.map(drop),
        }
    }

    /// Puts its call on hold.
    pub async fn hold(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(baresip) => baresip.command("hold", "").await.map(drop),
            Program::Linphone(linphone) => {
                linphone.order("pause").await?;
                linphone.wait_for("is now paused", PATIENCE).await.map(drop)
            }
        }
    }

    /// Takes its call back from hold.
    pub async fn resume(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(baresip) => baresip.command("resume", "").await.map(drop),
            Program::Linphone(linphone) => {
                linphone.order("resume").await?;
                linphone.wait_for("Media streams established", PATIENCE).await.map(drop)
            }
        }
    }

    /// Presses keys, one after the other.
    pub async fn press(&mut self, keys: &str) -> Result<()> {
        for key in keys.chars().map(String::from) {
            match &mut self.program {
                Program::Baresip(baresip) => baresip.command("sndcode", &key).await.map(drop)?,
                Program::Linphone(linphone) => linphone.order(&key).await?,
            }
            tokio::time::sleep(KEY_TIME).await;
        }
        Ok(())
    }

    /// Waits until it has been told these keys, and no others before them.
    pub async fn is_told(&mut self, keys: &str) -> Result<()> {
        let mut told = String::new();
        while told.len() < keys.len() {
            match &mut self.program {
                Program::Baresip(baresip) => told += &baresip.wait_for("CALL_DTMF_START", PATIENCE).await?,
                Program::Linphone(linphone) => {
                    let line = linphone.wait_for("Receiving tone ", PATIENCE).await?;
                    let key = line.split("Receiving tone ").nth(1).and_then(|rest| rest.chars().next());
                    told.extend(key);
                }
            }
        }
        ensure!(told == keys, "the phone was told {told}, not {keys}");
        Ok(())
    }

    /// Transfers its call to `target` (REFER).
    pub async fn transfer(&mut self, target: &str) -> Result<()> {
        match &mut self.program {
            Program::Baresip(baresip) => baresip.command("transfer", target).await.map(drop),
            Program::Linphone(linphone) => linphone.order(&format!("transfer {target}")).await,
        }
    }

    /// Ends its call.
    pub async fn hang_up(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(baresip) => baresip.hang_up().await,
            Program::Linphone(linphone) => linphone.order("terminate").await,
        }
    }

    /// Waits until the other side has ended its call.
    pub async fn ended(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(baresip) => baresip.wait_for("CALL_CLOSED", PATIENCE).await.map(drop),
            Program::Linphone(linphone) => linphone.wait_for("ended", PATIENCE).await.map(drop),
        }
    }

    /// What it heard since this was last asked, at 8 kHz.
    pub fn take_heard(&mut self) -> Result<Vec<i16>> {
        let all = match &self.program {
            Program::Baresip(baresip) => baresip.heard()?,
            Program::Linphone(linphone) => vec![linphone.heard()?],
        };
        ensure!(all.iter().all(|wav| wav.rate == RATE && wav.channels == 1), "the phone heard at another rate");
        let all: Vec<i16> = all.into_iter().flat_map(|wav| wav.samples).collect();
        let new = all.get(self.heard_before..).unwrap_or_default().to_vec();
        self.heard_before = all.len();
        Ok(new)
    }

    /// What it wrote, its SIP messages among it.
    pub fn log(&self) -> String {
        match &self.program {
            Program::Baresip(baresip) => baresip.log(),
            Program::Linphone(linphone) => linphone.log(),
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        match self.program {
            Program::Baresip(baresip) => baresip.stop().await,
            Program::Linphone(linphone) => linphone.stop().await,
        }
    }
}

/// The parameter of a SIP URI that asks for a transport.
const fn parameter(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    }
}

/// A certificate for 127.0.0.1 with its key in one file, and its authority beside it.
fn write_certificate(directory: &Path) -> Result<PathBuf> {
    let authority = Authority::new("A phone")?;
    authority.write_certificate(directory, "phone-ca.pem")?;
    let issued = authority.issue(&["127.0.0.1"])?;
    let path = directory.join("phone.pem");
    fs::write(&path, format!("{}{}", issued.key_pem, issued.certificate_pem))?;
    Ok(path)
}
