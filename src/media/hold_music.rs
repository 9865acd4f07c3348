//! What a held caller hears: a WAV file in a loop, or comfort noise where there is none.

use std::fmt;
use std::sync::Arc;

use crate::codec::comfort_noise::ComfortNoise;
use crate::codec::comfort_noise::IDLE_LEVEL;
use crate::limits::HOLD_MUSIC_BYTES_MAX;

/// Samples of 8 kHz, shared by all calls. Empty: comfort noise.
#[derive(Clone, Default)]
pub struct HoldMusic {
    samples: Arc<[i16]>,
}

/// Why a file is no hold music.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// No RIFF/WAVE, or cut short.
    #[error("this is no WAV file")]
    NoWav,
    /// Another coding, rate, width or number of channels.
    #[error("the WAV file is not 16-bit PCM, mono, 8000 Hz")]
    Format,
    /// No sample in it.
    #[error("the WAV file holds no audio")]
    Empty,
    /// Past [`HOLD_MUSIC_BYTES_MAX`].
    #[error("the WAV file is longer than ten minutes")]
    TooLong,
}

impl HoldMusic {
    /// Reads a WAV file: 16-bit PCM, mono, 8000 Hz.
    pub fn from_wav(file: &[u8]) -> Result<Self, WavError> {
        let rest = file.strip_prefix(b"RIFF").and_then(|rest| rest.get(4..)).ok_or(WavError::NoWav)?;
        let mut rest = rest.strip_prefix(b"WAVE").ok_or(WavError::NoWav)?;
        let mut format = None;
        while let Some(([n0, n1, n2, n3, l0, l1, l2, l3], after)) = rest.split_first_chunk::<8>() {
            let length = usize::try_from(u32::from_le_bytes([*l0, *l1, *l2, *l3])).map_err(|_wide| WavError::NoWav)?;
            let name = [*n0, *n1, *n2, *n3];
            if &name == b"data" {
                // A writer that was stopped leaves a length beyond the file: what is there counts.
                let data = after.get(..length).unwrap_or(after);
                return format.ok_or(WavError::NoWav).and_then(|()| Self::from_pcm(data));
            }
            let body = after.get(..length).ok_or(WavError::NoWav)?;
            if &name == b"fmt " {
                format = Some(check_format(body)?);
            }
            rest = after.get(length + length % 2..).unwrap_or_default();
        }
        Err(WavError::NoWav)
    }

    fn from_pcm(data: &[u8]) -> Result<Self, WavError> {
        if data.len() > HOLD_MUSIC_BYTES_MAX {
            return Err(WavError::TooLong);
        }
        let (pairs, _) = data.as_chunks::<2>();
        let samples: Arc<[i16]> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        if samples.is_empty() { Err(WavError::Empty) } else { Ok(Self { samples }) }
    }
}

/// PCM (1, or 0xfffe whose sub-format begins with 1), one channel, 8000 Hz, 16 bits.
fn check_format(body: &[u8]) -> Result<(), WavError> {
    let word = |at: usize| body.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    let rate = body.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let pcm = word(0) == Some(1) || (word(0) == Some(0xfffe) && word(24) == Some(1));
    let fits = pcm && word(2) == Some(1) && rate == Some(8_000) && word(14) == Some(16);
    if fits { Ok(()) } else { Err(WavError::Format) }
}

impl fmt::Debug for HoldMusic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HoldMusic({} samples)", self.samples.len())
    }
}

/// One caller's place in the music.
#[derive(Debug)]
pub(crate) struct HoldPlayer {
    music: HoldMusic,
    at: usize,
}

impl HoldPlayer {
    pub(crate) const fn new(music: HoldMusic) -> Self {
        Self { music, at: 0 }
    }

    /// The next samples.
    pub(crate) fn fill(&mut self, noise: &mut ComfortNoise, samples: &mut [i16]) {
        if self.music.samples.is_empty() {
            noise.fill(IDLE_LEVEL, samples);
            return;
        }
        for sample in samples {
            *sample = self.music.samples.get(self.at).copied().unwrap_or_default();
            self.at = (self.at + 1) % self.music.samples.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn wav(format: [u16; 4], rate: u32, data: &[u8]) -> Vec<u8> {
        let [coding, channels, block, bits] = format;
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        file.extend(b"LIST\x03\0\0\0abc\0fmt \x10\0\0\0");
        file.extend(coding.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend((rate * u32::from(block)).to_le_bytes());
        file.extend(block.to_le_bytes());
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn a_wav_file_is_read_and_looped() {
        let music = HoldMusic::from_wav(&wav([1, 1, 2, 16], 8_000, &[1, 0, 2, 0, 0xff, 0xff])).unwrap();
        let mut player = HoldPlayer::new(music);
        let mut samples = [0; 7];
        player.fill(&mut ComfortNoise::new(1), &mut samples);
        assert_eq!(samples, [1, 2, -1, 1, 2, -1, 1]);
    }

    #[test]
    fn other_formats_and_rubbish_are_refused() {
        for (file, error) in [
            (wav([1, 2, 4, 16], 8_000, &[0; 4]), WavError::Format),
            (wav([1, 1, 2, 16], 44_100, &[0; 4]), WavError::Format),
            (wav([7, 1, 1, 8], 8_000, &[0; 4]), WavError::Format),
            (wav([1, 1, 2, 16], 8_000, &[]), WavError::Empty),
            (wav([1, 1, 2, 16], 8_000, &vec![0; HOLD_MUSIC_BYTES_MAX + 2]), WavError::TooLong),
            (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0\x01\0".to_vec(), WavError::NoWav),
            (b"ID3".to_vec(), WavError::NoWav),
        ] {
            assert_eq!(HoldMusic::from_wav(&file).err(), Some(error));
        }
        let whole = wav([1, 1, 2, 16], 8_000, &[1, 0, 2, 0]);
        for length in 0..whole.len() {
            drop(HoldMusic::from_wav(&whole[..length]));
        }
    }

    #[test]
    fn without_music_it_is_noise_and_no_dead_line() {
        let mut samples = [0; 160];
        HoldPlayer::new(HoldMusic::default()).fill(&mut ComfortNoise::new(1), &mut samples);
        assert!(samples.iter().any(|sample| *sample != 0));
    }
}
