//! PCM16 WAV files, as far as the demo reads and writes them.

use anyhow::{Context as _, Result, ensure};

/// Decoded audio: samples of all channels, interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second and channel.
    pub rate: u32,
    /// How many channels.
    pub channels: u16,
    /// Interleaved.
    pub samples: Vec<i16>,
}

impl Wav {
    /// Reads a WAV file. A data chunk longer than the file, or of no length, as of a file that is still being written,
    /// ends with it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.get(..4) == Some(b"RIFF") && bytes.get(8..12) == Some(b"WAVE"), "not a WAV file");
        let mut rest = bytes.get(12..).unwrap_or_default();
        let mut format = None;
        while let (Some(id), Some(length)) = (rest.get(..4), u32_at(rest, 4)) {
            let body = rest.get(8..).unwrap_or_default();
            let length = usize::try_from(length)?;
            if id == b"fmt " {
                ensure!(u16_at(body, 0) == Some(1) && u16_at(body, 14) == Some(16), "not 16-bit PCM");
                format = Some((u16_at(body, 2).context("no channel count")?, u32_at(body, 4).context("no rate")?));
            }
            if id == b"data" {
                let (channels, rate) = format.context("the data chunk precedes its format")?;
                let data = body.get(..length).filter(|data| !data.is_empty()).unwrap_or(body);
                let samples = data.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
                return Ok(Self { rate, channels, samples });
            }
            rest = body.get(length.saturating_add(length % 2)..).unwrap_or_default();
        }
        anyhow::bail!("no audio in the WAV file")
    }

    /// A mono file's bytes.
    pub fn mono(rate: u32, samples: &[i16]) -> Result<Vec<u8>> {
        let length = u32::try_from(samples.len() * 2)?;
        let mut out = Vec::with_capacity(44 + samples.len() * 2);
        out.extend_from_slice(b"RIFF");
        out.extend_from_slice(&(36 + length).to_le_bytes());
        out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        out.extend_from_slice(&rate.to_le_bytes());
        out.extend_from_slice(&(rate * 2).to_le_bytes());
        out.extend_from_slice(b"\x02\0\x10\0data");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        Ok(out)
    }

    /// One channel's samples.
    pub fn channel(&self, channel: u16) -> Vec<i16> {
        let step = usize::from(self.channels.max(1));
        self.samples.iter().skip(usize::from(channel)).step_by(step).copied().collect()
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        let frames = self.samples.len() / usize::from(self.channels.max(1));
        u32::try_from(frames).map_or(0.0, f64::from) / f64::from(self.rate.max(1))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Wav::mono(8_000, &[1, -2, 3]).unwrap();
        assert_eq!(Wav::parse(&bytes).unwrap(), Wav { rate: 8_000, channels: 1, samples: vec![1, -2, 3] });
    }

    #[test]
    fn channels_come_apart() {
        let wav = Wav { rate: 8_000, channels: 2, samples: vec![1, 2, 3, 4] };
        assert_eq!((wav.channel(0), wav.channel(1)), (vec![1, 3], vec![2, 4]));
    }

    #[test]
    fn a_file_cut_short_gives_what_there_is_and_rubbish_an_error() {
        let bytes = Wav::mono(8_000, &[1, -2, 3]).unwrap();
        assert_eq!(Wav::parse(&bytes[..48]).unwrap().samples, [1, -2]);
        let growing = [&bytes[..40], &[0; 4], &bytes[44..]].concat();
        assert_eq!(Wav::parse(&growing).unwrap().samples, [1, -2, 3]);
        assert!(Wav::parse(&bytes[..40]).is_err());
        assert!(Wav::parse(b"RIFF").is_err());
    }
}
