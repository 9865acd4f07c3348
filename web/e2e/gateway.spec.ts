import { expect, type Page } from '@playwright/test';
import { findTone, gated, onsets, peak, readWav } from './audio';
import { CALLER, heardInPage, logIn, microphones, Officer, sentByPage, speakersPlay, test } from './real';

const SHOTS = process.env.SHOTS;
/** What the SIP side plays: no common measure with the microphone's second, so that no pair of edges is taken for another. */
const PBX_TONE = gated(1000, 0.7, 0.6, 0.3);

async function shot(page: Page, name: string): Promise<void> {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/real-${name}.png` });
}

const dialog = (page: Page) => page.getByRole('alertdialog', { name: 'Incoming call' });

test('a call from the PBX: both tones, each heard by the other side and recorded in its place and time', async ({
  page,
  sound,
  ring,
}) => {
  await logIn(page);
  expect(await page.evaluate(() => isSecureContext), 'this address has a microphone').toBe(true);
  await shot(page, 'idle');
  const rehearsal = await microphones(page);
  expect(rehearsal, 'permission was asked for, and the microphone closed again').toEqual({ opened: 1, live: 0 });

  const begun = new Date();
  const call = ring();
  await expect(dialog(page)).toContainText(CALLER);
  await expect(dialog(page)).toContainText('Berta Bauer');
  await expect(dialog(page)).toContainText('Ringing for 0:02');
  await expect.poll(() => page.evaluate(() => window.ears.peers.at(-1)?.connectionState)).toBe('connected');
  await shot(page, 'ringing');
  expect(await microphones(page), 'no hot microphone while it rings').toEqual(rehearsal);
  expect(sound.packets.length, 'nothing reaches the PBX before accept').toBe(0);

  const accepted = new Date();
  await dialog(page).getByRole('button', { name: 'Accept' }).click();
  await expect(page.getByRole('timer')).toBeVisible();
  await expect(page.getByText('Recording', { exact: true })).toBeVisible();
  await expect.poll(() => sound.packets.length).toBeGreaterThan(0);
  sound.play(PBX_TONE);
  await expect(page.getByRole('timer')).toHaveText('0:10', { timeout: 15_000 });
  await expect(page.getByText('Good quality')).toBeVisible();
  expect(await speakersPlay(page)).toBe(true);
  await shot(page, 'in-call');

  const fromBrowser = findTone(sound.heard().sound, 440);
  const inPage = findTone(await heardInPage(page, 8), 1000);
  console.log('440 Hz at the SIP side', fromBrowser, '1000 Hz in the page', inPage, await sentByPage(page));
  expect(fromBrowser.seconds).toBeGreaterThan(3);
  expect(fromBrowser.level).toBeGreaterThan(0.1);
  expect(fromBrowser.purity).toBeGreaterThan(0.95);
  expect(inPage.seconds).toBeGreaterThan(3);
  expect(inPage.level).toBeGreaterThan(0.2);
  expect(inPage.level).toBeLessThan(0.4);
  expect(inPage.purity).toBeGreaterThan(0.95);
  expect(findTone(sound.heard().sound, 1000).seconds, 'the PBX does not hear itself').toBeLessThan(0.1);
  expect(findTone(await heardInPage(page, 8), 440).seconds, 'the agent does not hear herself').toBeLessThan(0.1);

  await page.getByRole('button', { name: 'Hang up' }).click();
  await call.finished;
  await expect(page.getByText('Call ended.')).toBeVisible();
  expect((await microphones(page)).live, 'the microphone is closed').toBe(0);

  const officer = await Officer.logIn();
  await expect
    .poll(async () => (await officer.recordings(begun)).map((one) => one.state), { timeout: 20_000 })
    .toEqual(['stored']);
  const [recording] = await officer.recordings(begun);
  expect(recording).toMatchObject({ agent: '1001', agent_user: 'alice', remote_number: CALLER, direction: 'inbound' });
  const [agent, pbx] = readWav(await officer.audio(recording?.id));
  if (!agent || !pbx) throw new Error('the recording has fewer than two channels');
  const length = agent.samples.length / agent.rate;
  const since = (Date.now() - accepted.getTime()) / 1000;
  expect(length, 'the recording begins after accept').toBeLessThan(since);
  for (const [channel, own, foreign] of [[agent, 440, 1000] as const, [pbx, 1000, 440] as const]) {
    const tone = findTone(channel, own);
    console.log(`${own} Hz in the recording of ${length} s`, tone);
    expect(tone.seconds).toBeGreaterThan(3);
    expect(tone.level).toBeGreaterThan(0.1);
    expect(tone.purity).toBeGreaterThan(0.95);
    expect(findTone(channel, foreign).seconds, 'each side on its own channel only').toBeLessThan(0.1);
  }

  // Alignment, against the PBX's clock. There every edge of both tones has a time: of its own tone when it was
  // played, of the agent's when it arrived. In the recording the same edges lie on the two channels. From an edge of
  // one tone to an edge of the other it must be as long here as there, for every pair. The way through the gateway
  // is in the figure: towards the PBX it takes its time, and the recorder notes what comes as it comes.
  const heard = sound.heard();
  const played = sound.playedFrom();
  const seconds = Math.floor(sound.sent.length * 0.02);
  const atPbx = {
    agent: onsets(heard.sound, 440).map((at) => heard.from + at * 1000),
    pbx: Array.from({ length: Math.floor(seconds / 1.3) }, (_, k) => played + k * 1300),
  };
  const recorded = { agent: onsets(agent, 440), pbx: onsets(pbx, 1000) };
  expect(recorded.pbx.length).toBeGreaterThanOrEqual(6);
  expect(recorded.agent.length).toBeGreaterThanOrEqual(7);
  // The first edge of each tone is the first in both places; the last ones may be cut off in either.
  const skews: number[] = [];
  const first = nearest(recorded.pbx, atPbx.pbx);
  for (const [k, own] of recorded.pbx.entries()) {
    const sent = atPbx.pbx[k + first];
    if (sent === undefined) continue;
    for (const edge of recorded.agent) {
      const offsets = atPbx.agent.map((arrived) => arrived - sent - (edge - own) * 1000);
      const skew = offsets.reduce((best, one) => (Math.abs(one) < Math.abs(best) ? one : best), Infinity);
      if (Math.abs(skew) < 400) skews.push(skew);
    }
  }
  const least = Math.min(...skews);
  const most = Math.max(...skews);
  console.log(`alignment over ${skews.length} pairs of edges: ${least.toFixed(1)} to ${most.toFixed(1)} ms`);
  expect(skews.length).toBeGreaterThanOrEqual(40);
  expect(least).toBeGreaterThanOrEqual(-40);
  expect(most).toBeLessThanOrEqual(40);
});

/** Which of the edges played is the recording's first: 0, unless the recording missed the beginning. */
function nearest(recorded: number[], played: number[]): number {
  return Math.max(0, played.length - recorded.length - 1) > 1 ? played.length - recorded.length : 0;
}

test('a call that is refused: the PBX gets 486', async ({ page, sound, ring }) => {
  await logIn(page);
  const call = ring('uac_rejected');
  await dialog(page).getByRole('button', { name: 'Reject' }).click();
  await call.finished;
  await expect(dialog(page)).toBeHidden();
  expect(sound.packets).toEqual([]);
  expect((await microphones(page)).live).toBe(0);
});

test('a caller who gives up: the page stops ringing and lists the call as missed', async ({ page, ring }) => {
  await logIn(page);
  const call = ring('uac_gives_up');
  await expect(dialog(page)).toBeVisible();
  await call.finished;
  await expect(dialog(page)).toBeHidden();
  await expect(page.getByText('The caller hung up.')).toBeVisible();
  await expect(page.getByText('Missed')).toBeVisible();
});

test('a call that is taken after 9 s of ringing has sound at once', async ({ page, sound, ring }) => {
  await logIn(page);
  const call = ring();
  await expect(dialog(page)).toContainText('Ringing for 0:09', { timeout: 12_000 });
  const clicked = performance.now();
  await page.keyboard.press('a');
  await expect.poll(() => findTone(sound.heardSince(clicked), 440).seconds).toBeGreaterThan(0.5);
  sound.play(PBX_TONE);
  await expect.poll(async () => findTone(await heardInPage(page, 3), 1000).seconds).toBeGreaterThan(0.5);
  const delay = (sound.packets[0]?.at ?? Number.POSITIVE_INFINITY) - clicked;
  console.log(`first packet at the PBX ${delay.toFixed(0)} ms after accept`);
  expect(delay).toBeGreaterThan(0);
  expect(delay).toBeLessThan(2000);
  await page.getByRole('button', { name: 'Hang up' }).click();
  await call.finished;
});

test('a call to 600: the echo is heard, digits arrive as events, mute is silence', async ({
  page,
  sound,
  await: answer,
}) => {
  await logIn(page);
  const call = await answer();
  sound.reflect();
  await page.getByLabel('Number', { exact: true }).fill('600');
  await page.keyboard.press('Enter');
  await expect(page.getByText('Ringing…')).toBeVisible();
  await expect(page.getByRole('timer')).toHaveText('0:06', { timeout: 15_000 });
  const echo = findTone(await heardInPage(page, 4), 440);
  console.log('echo of 440 Hz in the page', echo, 'at the PBX', findTone(sound.heard().sound, 440));
  expect(echo.seconds).toBeGreaterThan(1.5);
  expect(echo.level).toBeGreaterThan(0.05);
  expect(echo.purity).toBeGreaterThan(0.9);

  await page.getByRole('button', { name: 'Keypad' }).click();
  for (const key of ['1', '5']) await page.getByRole('button', { name: key, exact: true }).click();
  await page.keyboard.press('#');
  await expect.poll(() => sound.digits()).toBe('15#');
  await shot(page, 'keypad');
  await page.getByRole('button', { name: 'Hide keypad' }).click();

  await page.getByRole('button', { name: 'Mute' }).click();
  await expect(page.getByText('Muted: they cannot hear you')).toBeVisible();
  const since = performance.now() + 300;
  await expect.poll(() => sound.heardSince(since).samples.length / 8000).toBeGreaterThan(2.2);
  const silence = peak(sound.heardSince(since));
  console.log('loudest sample while muted', silence);
  expect(silence).toBeLessThan(0.002);
  await page.getByRole('button', { name: 'Unmute' }).click();
  const again = performance.now();
  await expect.poll(() => findTone(sound.heardSince(again), 440).seconds).toBeGreaterThan(0.5);

  await page.getByRole('button', { name: 'Hang up' }).click();
  await call.finished;
  await expect(page.getByText('Call ended.')).toBeVisible();
});

test('a number that nobody serves is said in words', async ({ page }) => {
  await logIn(page);
  await page.getByLabel('Number', { exact: true }).fill('999999');
  await page.keyboard.press('Enter');
  await expect(page.getByText(/You may not call this number|There is no such number/)).toBeVisible();
  await shot(page, 'refused-number');
});
