import { readFileSync } from 'node:fs';
import { afterEach, expect, it, vi } from 'vitest';

afterEach(() => vi.unstubAllGlobals());

/** The words of the gateway's one table from cause to wire. */
function causes(): string[] {
  const table = readFileSync(new URL('../../../src/call/cause.rs', import.meta.url), 'utf8');
  const found = [...table.matchAll(/row\([a-z0-9]+, \d+, "([a-z_]+)"\)/g)].map((match) => match[1] ?? '');
  return [...new Set(found)].sort();
}

it.each(['en-US', 'de-DE'])('every cause of the gateway has its words in %s', async (language) => {
  vi.resetModules();
  vi.stubGlobal('navigator', { language });
  const { words } = await import('./strings');
  expect(causes().length).toBeGreaterThan(20);
  expect(causes().filter((cause) => words.reasons[cause] === undefined)).toEqual([]);
  const extra = Object.keys(words.reasons).filter((reason) => !causes().includes(reason));
  expect(extra, 'nothing that the gateway never says').toEqual(['connection.lost']);
});
