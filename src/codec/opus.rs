//! Opus straight at 8 kHz: libopus converts by itself, and better than a resampler after it.

use opus::Application;
use opus::Bitrate;
use opus::Channels;
use opus::Signal;

use crate::codec::Error;

/// Samples per frame that we send: 20 ms.
pub const FRAME_SAMPLES: usize = 160;
/// Samples of the longest Opus packet: 120 ms (RFC 6716 3.1).
pub const PACKET_SAMPLES_MAX: usize = 960;
/// PCM sampling rate in Hz.
const RATE_HZ: u32 = 8_000;
/// Bits per second where the browser reports no loss.
const BITRATE: i32 = 24_000;
/// Bits per second with in-band FEC: below this, complexity 0 writes none.
const BITRATE_FEC: i32 = 28_000;
/// Loss from which FEC pays, in per cent; it goes off below half of it.
const FEC_LOSS_PERCENT: u8 = 2;
/// Samples in 2.5 ms: lost audio is asked for in multiples of it.
const GRAIN: usize = 20;

/// An encoder of telephone speech.
pub struct Encoder {
    inner: opus::Encoder,
    loss_percent: u8,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("loss_percent", &self.loss_percent).finish_non_exhaustive()
    }
}

impl Encoder {
    /// VOIP, voice, mono, VBR, 8 kHz, complexity 0, 24 kb/s, no DTX.
    pub fn new() -> Result<Self, Error> {
        let mut inner = opus::Encoder::new(RATE_HZ, Channels::Mono, Application::Voip)?;
        inner.set_complexity(0)?;
        inner.set_vbr(true)?;
        inner.set_signal(Signal::Voice)?;
        inner.set_bitrate(Bitrate::Bits(BITRATE))?;
        Ok(Self { inner, loss_percent: 0 })
    }

    /// Says how many per cent of our packets the receiver loses: from 2 % on, FEC is written.
    pub fn set_loss(&mut self, percent: u8) -> Result<(), Error> {
        let percent = percent.min(100);
        let fec_was_on = self.loss_percent > 0;
        let fec = percent >= FEC_LOSS_PERCENT || (fec_was_on && percent > FEC_LOSS_PERCENT / 2);
        let percent = if fec { percent } else { 0 };
        if percent == self.loss_percent {
            return Ok(());
        }
        self.inner.set_inband_fec(fec)?;
        self.inner.set_packet_loss_perc(i32::from(percent))?;
        self.inner.set_bitrate(Bitrate::Bits(if fec { BITRATE_FEC } else { BITRATE }))?;
        self.loss_percent = percent;
        Ok(())
    }

    /// Encodes 20 ms into `out`; the bytes written, or `None` where libopus refused.
    pub fn encode(&mut self, frame: &[i16; FRAME_SAMPLES], out: &mut [u8]) -> Option<usize> {
        self.inner.encode(frame, out).ok()
    }
}

/// A decoder of whatever Opus a browser sends: any bandwidth, mono or stereo, 2.5–120 ms.
pub struct Decoder {
    inner: opus::Decoder,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// To mono at 8 kHz.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { inner: opus::Decoder::new(RATE_HZ, Channels::Mono)? })
    }

    /// Decodes a packet; its samples, or `None` where it is no Opus.
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16; PACKET_SAMPLES_MAX]) -> Option<usize> {
        if packet.is_empty() {
            return None;
        }
        self.inner.decode(packet, out, false).ok()
    }

    /// Samples of a packet, by its first bytes.
    pub fn samples_of(&self, packet: &[u8]) -> Option<usize> {
        if packet.is_empty() {
            return None;
        }
        self.inner.get_nb_samples(packet).ok().filter(|samples| (1..=PACKET_SAMPLES_MAX).contains(samples))
    }

    /// What was lost just before `next`, from the copy in it; where it has none, concealed. Call before decoding `next`.
    pub fn recover(&mut self, next: &[u8], lost: &mut [i16]) -> Option<usize> {
        if next.is_empty() {
            return self.conceal(lost);
        }
        let lost = whole_grains(lost)?;
        self.inner.decode(next, lost, true).ok()
    }

    /// What might have been said, from what was; fades out, and after DTX is comfort noise.
    pub fn conceal(&mut self, lost: &mut [i16]) -> Option<usize> {
        let lost = whole_grains(lost)?;
        self.inner.decode(&[], lost, false).ok()
    }

    /// Forgets everything heard: the next packet begins a new stream.
    pub fn reset(&mut self) {
        // libopus cannot refuse this; if it did, the first frame would merely be blended with the last.
        drop(self.inner.reset_state());
    }
}

/// The part of `samples` that is a multiple of 2.5 ms and no longer than a packet; `None` where nothing is left.
fn whole_grains(samples: &mut [i16]) -> Option<&mut [i16]> {
    let len = samples.len().min(PACKET_SAMPLES_MAX) / GRAIN * GRAIN;
    samples.get_mut(..len).filter(|part| !part.is_empty())
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "signals are made in floating point")]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn tone(index: usize) -> [i16; FRAME_SAMPLES] {
        std::array::from_fn(|n| {
            let t = (index * FRAME_SAMPLES + n) as f64 / 8_000.0;
            (8_000.0 * (TAU * 440.0 * t).sin()) as i16
        })
    }

    fn power(samples: &[i16]) -> f64 {
        samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64
    }

    #[test]
    fn a_tone_keeps_its_power_at_about_the_rate_asked_for() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new().unwrap());
        let mut out = [0; PACKET_SAMPLES_MAX];
        let mut bytes = 0;
        for index in 0..50 {
            let mut packet = [0; 480];
            let len = encoder.encode(&tone(index), &mut packet).unwrap();
            bytes += len;
            assert_eq!(decoder.samples_of(&packet[..len]), Some(160));
            assert_eq!(decoder.decode(&packet[..len], &mut out), Some(160));
        }
        let ratio = power(&out[..160]) / power(&tone(50));
        assert!((0.7..1.3).contains(&ratio), "{ratio}");
        assert!(bytes * 8 < 30_000, "{bytes}");
    }

    #[test]
    fn with_loss_reported_a_lost_frame_comes_back_from_the_next() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new().unwrap());
        encoder.set_loss(10).unwrap();
        // Noise bursts: concealment cannot guess them, FEC can.
        let mut state = 1_u32;
        let mut burst = |loud: bool| -> [i16; FRAME_SAMPLES] {
            std::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16).cast_signed() as i16 / [400, 4][usize::from(loud)]
            })
        };
        let mut out = [0; PACKET_SAMPLES_MAX];
        let mut packets = Vec::new();
        for index in 0..40 {
            let mut packet = [0; 480];
            let len = encoder.encode(&burst(index >= 30), &mut packet).unwrap();
            packets.push(packet[..len].to_vec());
        }
        for packet in &packets[..30] {
            decoder.decode(packet, &mut out).unwrap();
        }
        let mut guesser = Decoder::new().unwrap();
        for packet in &packets[..30] {
            guesser.decode(packet, &mut out).unwrap();
        }
        let (mut recovered, mut guessed) = ([0; 160], [0; 160]);
        assert_eq!(decoder.recover(&packets[31], &mut recovered), Some(160));
        assert_eq!(guesser.conceal(&mut guessed), Some(160));
        assert!(power(&recovered) > 100.0 * power(&guessed), "{} {}", power(&recovered), power(&guessed));
    }

    #[test]
    fn what_is_no_opus_is_none() {
        let mut decoder = Decoder::new().unwrap();
        let mut out = [0; PACKET_SAMPLES_MAX];
        assert_eq!(decoder.decode(&[], &mut out), None);
        assert_eq!(decoder.decode(&[0xff, 0xff, 0xff], &mut out), None);
        assert_eq!(decoder.samples_of(&[]), None);
        assert_eq!(decoder.conceal(&mut [0; 19]), None);
        assert_eq!(decoder.conceal(&mut [0; 170]), Some(160));
    }

    #[test]
    fn a_packet_of_sixty_milliseconds_decodes_whole() {
        let mut encoder = opus::Encoder::new(48_000, Channels::Stereo, Application::Audio).unwrap();
        let mut packet = [0; 1_275];
        let len = encoder.encode(&[100; 2_880 * 2], &mut packet).unwrap();
        let mut decoder = Decoder::new().unwrap();
        assert_eq!(decoder.decode(&packet[..len], &mut [0; PACKET_SAMPLES_MAX]), Some(480));
    }
}
