const STEPS_MS = [300, 1200, 2700, 4800, 7000];

/**
 * How long to wait before attempt `attempt` (from 0) to reconnect, in milliseconds: anything up to 500 at first, so that
 * a restarted gateway is not stormed, then longer and longer, each ± 50 %.
 */
export function backoffMs(attempt: number, random: () => number): number {
  if (attempt === 0) return random() * 500;
  const step = STEPS_MS[Math.min(attempt, STEPS_MS.length) - 1] ?? 7000;
  return step * (0.5 + random());
}
