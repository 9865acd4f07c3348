//! The simulated PBX: Debian's baresip.
//!
//! It echoes on 600, speaks on 601, and rings an agent on request, playing a tone made here and recording what it
//! hears as baresip decoded it. No line of it is ours, so agreement with ourselves cannot pass for a call.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::demo::baresip::{Baresip, RATE, Setup};
use crate::demo::ladder::Ladder;
use crate::demo::tone::Sine;
use crate::demo::voice;
use crate::demo::wav::Wav;

/// The tone that the PBX plays to an agent, in hertz.
pub const TONE_HZ: f64 = 1_000.0;
/// How long it plays that tone before it hangs up.
const TONE_SECONDS: usize = 60;
/// How often 601 says its piece before it hangs up.
const SPEECH_ROUNDS: usize = 8;
/// First of its ports for RTP.
const RTP_PORT: u16 = 30_000;

/// A running PBX.
#[derive(Debug)]
pub struct Pbx {
    address: SocketAddr,
    phone: Baresip,
}

impl Pbx {
    /// Starts it below `directory`, listening for SIP over UDP and TCP on `address`.
    pub async fn start(directory: &Path, address: SocketAddr, ladder: Option<Ladder>) -> Result<Self> {
        let accounts = write_sounds(directory, address)?;
        let setup = Setup { address, accounts, tls: None, rtp_port: RTP_PORT };
        Ok(Self { address, phone: Baresip::start(directory, &setup, ladder).await? })
    }

    /// Rings `target`, such as `sip:1001@127.0.0.1:5060`.
    pub async fn ring(&mut self, target: &str) -> Result<()> {
        self.phone.dial(&format!("sip:pbx@{}", self.address), target).await
    }

    /// Waits for an event of a call, such as `CALL_ESTABLISHED`.
    pub async fn wait_for(&mut self, event: &str, limit: Duration) -> Result<()> {
        self.phone.wait_for(event, limit).await.map(drop)
    }

    /// Ends the PBX's call.
    pub async fn hang_up(&mut self) -> Result<()> {
        self.phone.hang_up().await
    }

    /// What the PBX heard in the calls since [`Self::forget`], as baresip decoded it: one file a call.
    pub fn heard(&self) -> Result<Vec<Wav>> {
        self.phone.heard()
    }

    /// Removes what was heard so far.
    pub fn forget(&self) -> Result<()> {
        self.phone.forget()
    }

    /// Ends it, its calls with BYE.
    pub async fn stop(self) {
        self.phone.stop().await;
    }
}

/// What the PBX plays, and its accounts that play it.
fn write_sounds(directory: &Path, address: SocketAddr) -> Result<Vec<String>> {
    fs::create_dir_all(directory)?;
    let directory = directory.canonicalize()?;
    let tone = directory.join("tone.wav");
    let speech = directory.join("speech.wav");
    fs::write(&tone, Wav::mono(RATE, &Sine::new(TONE_HZ, RATE).take(TONE_SECONDS * RATE as usize))?)?;
    fs::write(&speech, Wav::mono(RATE, &voice::vowels(RATE).repeat(SPEECH_ROUNDS))?)?;
    let common = "regint=0;audio_codecs=PCMU/8000/1,PCMA/8000/1";
    Ok(vec![
        format!("<sip:600@{address}>;{common};answermode=auto;audio_source=aubridge,loop;audio_player=aubridge,loop"),
        format!(
            "<sip:601@{address}>;{common};answermode=auto;audio_source=aufile,{};audio_player=aubridge,ear601",
            speech.display()
        ),
        format!("<sip:pbx@{address}>;{common};audio_source=aufile,{};audio_player=aubridge,earpbx", tone.display()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::baresip::PATIENCE;
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
        pbx.phone.command("uafind", &format!("sip:pbx@{}", pbx.address)).await.unwrap();
        let files = pbx.phone.recordings("-enc.wav").unwrap();
        Wav::parse(&fs::read(&files[0]).unwrap()).unwrap()
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
