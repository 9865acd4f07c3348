import { writeFileSync } from 'node:fs';

/** Sound of one channel, -1 to 1. */
export interface Sound {
  rate: number;
  samples: Float32Array;
}

/** What was found of a tone. */
export interface Tone {
  /** How long it was there, in seconds. */
  seconds: number;
  /** Its amplitude where it was there, 0–1; the median. */
  level: number;
  /** Its share of all power where it was there, 0–1; the median. */
  purity: number;
}

/**
 * A tone in bursts of 0.35–0.75 s with 0.25–0.55 s between them, drawn from `seed` and repeated after a minute: no part
 * of the pattern looks like another, so that two copies of it fit in one place only. The edges are 5 ms wide, so that
 * they do not click.
 */
export function bursts(hz: number, seed: number, amplitude: number): (n: number, rate: number) => number {
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
  const all: { from: number; to: number }[] = [];
  for (let at = 0.2; at < 59; ) {
    const to = at + 0.35 + 0.4 * random();
    all.push({ from: at, to });
    at = to + 0.25 + 0.3 * random();
  }
  return (n, rate) => {
    const t = (n / rate) % 60;
    const burst = all.find(({ to }) => t < to);
    if (!burst || t < burst.from) return 0;
    const edge = Math.min(1, (t - burst.from) / 0.005, (burst.to - t) / 0.005);
    return amplitude * edge * Math.sin((2 * Math.PI * hz * n) / rate);
  };
}

/** Amplitude of a tone and mean power of everything, in one window. */
function window(sound: Sound, from: number, length: number, hz: number): { amplitude: number; power: number } {
  const step = (2 * Math.PI * hz) / sound.rate;
  let [re, im, power] = [0, 0, 0];
  for (let i = 0; i < length; i++) {
    const x = sound.samples[from + i] ?? 0;
    re += x * Math.cos(step * i);
    im -= x * Math.sin(step * i);
    power += x * x;
  }
  return { amplitude: (2 * Math.hypot(re, im)) / length, power: power / length };
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

/** Looks for a tone in windows of 50 ms; it is there where it makes up at least half of the power, above -46 dB. */
export function findTone(sound: Sound, hz: number): Tone {
  // A page that was just loaded has heard nothing yet, at no rate.
  const length = Math.max(1, Math.round(sound.rate * 0.05));
  const found: { amplitude: number; purity: number }[] = [];
  for (let from = 0; from + length <= sound.samples.length; from += length) {
    const { amplitude, power } = window(sound, from, length, hz);
    const purity = power > 0 ? amplitude ** 2 / 2 / power : 0;
    if (amplitude > 0.005 && purity > 0.5) found.push({ amplitude, purity });
  }
  return {
    seconds: found.length * 0.05,
    level: median(found.map((one) => one.amplitude)),
    purity: median(found.map((one) => one.purity)),
  };
}

/**
 * When a gated tone begins, in seconds from the sound's first sample: where its level, in windows of 20 ms every
 * millisecond, first rises through half of its plateau after at least 100 ms without it.
 */
export function onsets(sound: Sound, hz: number): number[] {
  const length = Math.round(sound.rate * 0.02);
  const hop = sound.rate / 1000;
  const levels: number[] = [];
  for (let from = 0; from + length <= sound.samples.length; from += hop) {
    levels.push(window(sound, Math.round(from), length, hz).amplitude);
  }
  const plateau = levels.toSorted((a, b) => a - b)[Math.floor(levels.length * 0.85)] ?? 0;
  const found: number[] = [];
  let quiet = 0;
  for (const [ms, level] of levels.entries()) {
    if (level >= plateau / 2) {
      if (quiet >= 100) found.push((ms + 10) / 1000);
      quiet = 0;
    } else if (level < plateau / 4) quiet++;
  }
  return found;
}

/** How one list of edges lies on another. */
export interface Fit {
  /** How many of them meet. */
  met: number;
  /** How many would meet in the second best place, 0.1 s or more away. */
  elsewhere: number;
  /** The least and the greatest way from an edge here to the same one there, in seconds. */
  least: number;
  most: number;
}

/** Finds where the edges of one clock lie on another: the place in which most meet within 40 ms. */
export function align(here: number[], there: number[]): Fit {
  const ways = (by: number) =>
    here.flatMap((edge) => {
      const meeting = there.find((other) => Math.abs(other - edge - by) < 0.04);
      return meeting === undefined ? [] : [meeting - edge];
    });
  const places = here
    .flatMap((edge) => there.map((other) => other - edge))
    .map((by) => ({ by, ways: ways(by) }))
    .sort((a, b) => b.ways.length - a.ways.length);
  const [best] = places;
  if (!best) throw new Error('no edges to compare');
  const elsewhere = places.find((place) => Math.abs(place.by - best.by) > 0.1)?.ways.length ?? 0;
  return { met: best.ways.length, elsewhere, least: Math.min(...best.ways), most: Math.max(...best.ways) };
}

/** The loudest sample. */
export function peak(sound: Sound): number {
  return sound.samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
}

/** Writes 16 bit mono. */
export function writeWav(
  path: string,
  rate: number,
  seconds: number,
  sample: (n: number, rate: number) => number,
): void {
  const count = Math.round(rate * seconds);
  const file = Buffer.alloc(44 + 2 * count);
  file.write('RIFF', 0);
  file.writeUInt32LE(36 + 2 * count, 4);
  file.write('WAVEfmt ', 8);
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(rate, 24);
  file.writeUInt32LE(2 * rate, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write('data', 36);
  file.writeUInt32LE(2 * count, 40);
  for (let n = 0; n < count; n++) file.writeInt16LE(Math.round(32767 * sample(n, rate)), 44 + 2 * n);
  writeFileSync(path, file);
}

/** Reads 16 bit of any number of channels. */
export function readWav(file: Buffer): Sound[] {
  let [at, channels, rate] = [12, 0, 0];
  while (at + 8 <= file.length) {
    const [name, size] = [file.toString('latin1', at, at + 4), file.readUInt32LE(at + 4)];
    if (name === 'fmt ') {
      channels = file.readUInt16LE(at + 10);
      rate = file.readUInt32LE(at + 12);
      if (file.readUInt16LE(at + 22) !== 16) throw new Error('not 16 bit');
    }
    if (name === 'data') {
      const count = Math.floor(Math.min(size, file.length - at - 8) / 2 / channels);
      return Array.from({ length: channels }, (_, channel) => ({
        rate,
        samples: Float32Array.from(
          { length: count },
          (_, n) => file.readInt16LE(at + 8 + 2 * (n * channels + channel)) / 32768,
        ),
      }));
    }
    at += 8 + size + (size % 2);
  }
  throw new Error('a WAV without data');
}

/** ITU-T G.711 µ-law to -1…1. */
export function fromMuLaw(byte: number): number {
  const code = ~byte & 0xff;
  const magnitude = (((code & 0x0f) << 3) + 0x84) << ((code >> 4) & 7);
  return ((code & 0x80 ? -1 : 1) * (magnitude - 0x84)) / 32768;
}

/** -1…1 to ITU-T G.711 µ-law. */
export function toMuLaw(sample: number): number {
  const magnitude = Math.min(32635, Math.round(Math.abs(sample) * 32768)) + 0x84;
  const exponent = Math.floor(Math.log2(magnitude)) - 7;
  return ~((sample < 0 ? 0x80 : 0) | (exponent << 4) | ((magnitude >> (exponent + 3)) & 0x0f)) & 0xff;
}
