/** One second of a call, as heard here. */
export interface Sample {
  /** Interarrival jitter in milliseconds. */
  jitterMs: number;
  /** Share of packets lost, 0–1. */
  loss: number;
  /** Round-trip time in milliseconds, where known. */
  rttMs: number | null;
  /** Mean opinion score, 1–4.5. */
  mos: number;
}

/** What is wrong with a call, in the order of what to say first. */
export type Trouble = 'silent' | 'loss' | 'jitter' | 'rtt' | 'mos';

/** Counters since the call began. */
export interface Counters {
  received: number;
  lost: number;
  jitterMs: number;
  rttMs: number | null;
}

/** A simplified E-model (ITU-T G.107): delay and loss to a mean opinion score. The gateway's is the same (docs/quality.md). */
export function meanOpinion(jitterMs: number, loss: number, rttMs: number | null): number {
  const delay = (rttMs ?? 0) / 2 + 2 * jitterMs + 20;
  const delayed = 0.024 * delay + (delay > 177.3 ? 0.11 * (delay - 177.3) : 0);
  const lost = (95 * loss * 100) / (loss * 100 + 25.1);
  const r = Math.max(0, Math.min(93.2, 93.2 - delayed - lost));
  return Math.max(1, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r));
}

const EXCEEDS: Record<Exclude<Trouble, 'silent'>, (sample: Sample) => boolean> = {
  loss: (sample) => sample.loss > 0.01,
  jitter: (sample) => sample.jitterMs > 30,
  rtt: (sample) => (sample.rttMs ?? 0) > 400,
  mos: (sample) => sample.mos < 3,
};

/** Follows a call second by second; a trouble stands when 3 of the last 5 samples show it. */
export class QualityMeter {
  #last: Counters | null = null;
  #silentFor = 0;
  readonly #recent: Sample[] = [];

  /** Takes the counters of one more second. */
  take(now: Counters): Sample {
    const received = now.received - (this.#last?.received ?? 0);
    const lost = Math.max(0, now.lost - (this.#last?.lost ?? 0));
    this.#silentFor = this.#last && received <= 0 ? this.#silentFor + 1 : 0;
    this.#last = now;
    const loss = received + lost > 0 ? lost / (received + lost) : 0;
    const sample = { jitterMs: now.jitterMs, loss, rttMs: now.rttMs, mos: meanOpinion(now.jitterMs, loss, now.rttMs) };
    this.#recent.push(sample);
    if (this.#recent.length > 5) this.#recent.shift();
    return sample;
  }

  /** What is wrong, the most telling first; empty where all is well. */
  get troubles(): Trouble[] {
    const troubles: Trouble[] = this.#silentFor >= 5 ? ['silent'] : [];
    for (const [name, exceeds] of Object.entries(EXCEEDS)) {
      if (this.#recent.filter(exceeds).length >= 3) troubles.push(name as Trouble);
    }
    return troubles;
  }
}

/** Reads the counters from a peer connection's statistics. */
export function countersFrom(report: Iterable<readonly [string, unknown]>): Counters | null {
  let inbound: RTCInboundRtpStreamStats | undefined;
  let rttMs: number | null = null;
  for (const [, entry] of report) {
    const stats = entry as RTCStats & { kind?: string; nominated?: boolean; currentRoundTripTime?: number };
    if (stats.type === 'inbound-rtp' && stats.kind === 'audio') inbound = stats as RTCInboundRtpStreamStats;
    if (stats.type === 'candidate-pair' && stats.nominated && stats.currentRoundTripTime !== undefined) {
      rttMs = stats.currentRoundTripTime * 1000;
    }
  }
  if (!inbound) return null;
  return {
    received: inbound.packetsReceived ?? 0,
    lost: inbound.packetsLost ?? 0,
    jitterMs: (inbound.jitter ?? 0) * 1000,
    rttMs,
  };
}
