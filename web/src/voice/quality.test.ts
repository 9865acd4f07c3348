import { describe, expect, it } from 'vitest';
import { countersFrom, meanOpinion, QualityMeter } from './quality';

const good = (n: number) => ({ received: 50 * n, lost: 0, jitterMs: 3, rttMs: 20 });

describe('quality', () => {
  it('a clean call scores above 4 and shows no trouble', () => {
    const meter = new QualityMeter();
    for (let n = 1; n <= 10; n++) expect(meter.take(good(n)).mos).toBeGreaterThan(4.2);
    expect(meter.troubles).toEqual([]);
  });

  it('loss is named when 3 of 5 samples show it, and no longer when they are past', () => {
    const meter = new QualityMeter();
    let lost = 0;
    for (let n = 1; n <= 3; n++) {
      expect(meter.troubles).toEqual([]);
      lost += 2;
      meter.take({ ...good(n), lost });
    }
    expect(meter.troubles).toEqual(['loss']);
    for (let n = 4; n <= 6; n++) meter.take({ ...good(n), lost });
    expect(meter.troubles).toEqual([]);
  });

  it('silence is named after 5 s without a packet', () => {
    const meter = new QualityMeter();
    meter.take(good(1));
    for (let n = 0; n < 4; n++) meter.take(good(1));
    expect(meter.troubles).toEqual([]);
    meter.take(good(1));
    expect(meter.troubles[0]).toBe('silent');
  });

  it('delay and loss lower the score', () => {
    expect(meanOpinion(3, 0.05, 20)).toBeLessThan(meanOpinion(3, 0, 20));
    expect(meanOpinion(3, 0.2, 900)).toBeLessThan(3);
    expect(meanOpinion(500, 1, 5000)).toBeGreaterThanOrEqual(1);
  });

  it('scores as the gateway does', () => {
    expect(meanOpinion(0, 0, null)).toBeCloseTo(4.4, 2);
    expect(meanOpinion(3, 0, 20)).toBeCloseTo(4.39, 2);
    expect(meanOpinion(3, 0.05, 20)).toBeCloseTo(3.89, 2);
    expect(meanOpinion(3, 0.2, 900)).toBeCloseTo(1, 2);
  });

  it('reads the figures of a peer connection', () => {
    const report = new Map<string, unknown>([
      ['a', { type: 'inbound-rtp', kind: 'audio', packetsReceived: 9, packetsLost: 1, jitter: 0.004 }],
      ['b', { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.05 }],
      ['c', { type: 'candidate-pair', nominated: false, currentRoundTripTime: 9 }],
    ]);
    expect(countersFrom(report)).toEqual({ received: 9, lost: 1, jitterMs: 4, rttMs: 50 });
    expect(countersFrom(new Map())).toBeNull();
  });
});
