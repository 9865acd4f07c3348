import { expect, type Page } from '@playwright/test';
import { align, bursts, findTone, onsets, peak, readWav } from './audio';
import {
  CALLER,
  countBandwidths,
  heardInPage,
  logIn,
  microphones,
  Officer,
  sentByPage,
  speakersPlay,
  test,
} from './real';

const SHOTS = process.env.SHOTS;
/** What the SIP side plays. */
const PBX_TONE = bursts(1000, 2, 0.3);

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
  await expect(dialog(page)).toContainText(/Ringing for 0:0[2-9]/);
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
  await expect(page.getByRole('timer')).toHaveText(/0:1\d/, { timeout: 15_000 });
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
  const ended = new Date();
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
  const talked = (ended.getTime() - accepted.getTime()) / 1000;
  expect(Date.parse(String(recording?.answered_at))).toBeGreaterThanOrEqual(accepted.getTime());
  expect(length, 'nothing of the ringing is in the recording').toBeLessThan(talked + 0.2);
  expect(length, 'and it has the whole call').toBeGreaterThan(talked - 1);
  for (const [channel, own, foreign] of [[agent, 440, 1000] as const, [pbx, 1000, 440] as const]) {
    const tone = findTone(channel, own);
    console.log(`${own} Hz in the recording of ${length} s`, tone);
    expect(tone.seconds).toBeGreaterThan(3);
    expect(tone.level).toBeGreaterThan(0.1);
    expect(tone.purity).toBeGreaterThan(0.95);
    expect(findTone(channel, foreign).seconds, 'each side on its own channel only').toBeLessThan(0.1);
  }

  // Alignment, against the PBX's clock. There every edge of both tones has a time: of its own tone when it was
  // played, of the agent's when it arrived. In the recording the same edges lie on the two channels. So each channel
  // has a way from the recording's clock to the PBX's, edge for edge, and the two ways must be the same. The bursts
  // fit in one place only, so a whole second's error cannot hide; and the gateway's own way from the browser to the
  // PBX is in the figure too, as the recorder notes what comes when it comes.
  const heard = sound.heard();
  const samples = Float32Array.from({ length: sound.sent.length * 160 }, (_, n) => PBX_TONE(n, 8000));
  const played = onsets({ rate: 8000, samples }, 1000).map((at) => at + sound.playedFrom() / 1000);
  const arrived = onsets(heard.sound, 440).map((at) => at + heard.from / 1000);
  const ways = { agent: align(onsets(agent, 440), arrived), pbx: align(onsets(pbx, 1000), played) };
  const least = 1000 * (ways.agent.least - ways.pbx.most);
  const most = 1000 * (ways.agent.most - ways.pbx.least);
  console.log(`alignment ${least.toFixed(1)} to ${most.toFixed(1)} ms`, ways);
  for (const way of [ways.agent, ways.pbx]) {
    expect(way.met).toBeGreaterThanOrEqual(7);
    expect(way.elsewhere).toBeLessThanOrEqual(way.met / 2);
  }
  expect(least).toBeGreaterThanOrEqual(-40);
  expect(most).toBeLessThanOrEqual(40);
});

test('the browser sends narrowband Opus, as our description asks for', async ({ page, sound, ring }) => {
  await page.addInitScript(countBandwidths);
  await logIn(page);
  const call = ring();
  await dialog(page).getByRole('button', { name: 'Accept' }).click();
  await expect.poll(() => sound.packets.length).toBeGreaterThan(0);
  await expect(page.getByRole('timer')).toHaveText(/0:0[5-9]/, { timeout: 15_000 });
  const { narrow, wider } = await page.evaluate(() => window.bandwidths);
  console.log(`Opus packets: ${narrow} narrowband, ${wider} of more`, await sentByPage(page));
  expect(findTone(sound.heard().sound, 440).seconds, 'what was counted is what was sent').toBeGreaterThan(1);
  expect(narrow).toBeGreaterThan(100);
  expect(wider).toBe(0);
  await page.getByRole('button', { name: 'Hang up' }).click();
  await call.finished;
});

test('a reload in a call: both hear each other again, in the same call and the same recording', async ({
  page,
  sound,
  ring,
}) => {
  await logIn(page);
  const begun = new Date();
  // The scenario takes nothing but a BYE: a word to the PBX about the reload would fail it.
  const call = ring();
  await dialog(page).getByRole('button', { name: 'Accept' }).click();
  await expect.poll(() => sound.packets.length).toBeGreaterThan(0);
  sound.play(PBX_TONE);
  await expect(page.getByRole('timer')).toHaveText(/0:0[4-9]/, { timeout: 15_000 });
  expect(findTone(sound.heard().sound, 440).seconds).toBeGreaterThan(1);

  const reloaded = performance.now();
  await page.reload();
  const since = performance.now();
  const heard = expect
    .poll(() => findTone(sound.heardSince(since), 440).seconds, { intervals: [50] })
    .toBeGreaterThan(0.25)
    .then(() => performance.now() - reloaded);
  const hears = expect
    .poll(async () => findTone(await heardInPage(page, 3), 1000).seconds, { intervals: [50], timeout: 10_000 })
    .toBeGreaterThan(0.25)
    .then(() => performance.now() - reloaded);
  const [toPbx, toPage] = await Promise.all([heard, hears]);
  console.log(
    `after a reload: heard at the PBX after ${toPbx.toFixed(0)} ms, in the page after ${toPage.toFixed(0)} ms`,
  );
  expect(Math.max(toPbx, toPage)).toBeLessThan(5000);
  await expect(page.getByText('Berta Bauer')).toBeVisible();
  await expect(page.getByRole('timer'), 'the clock goes on').toHaveText(/0:(0[5-9]|[1-5]\d)/);
  await expect(page.getByText('Recording', { exact: true })).toBeVisible();
  expect(await speakersPlay(page)).toBe(true);
  await expect.poll(() => findTone(sound.heardSince(since), 440).seconds, { timeout: 10_000 }).toBeGreaterThan(1);
  await shot(page, 'reloaded');

  await page.getByRole('button', { name: 'Hang up' }).click();
  await call.finished;
  const officer = await Officer.logIn();
  await expect
    .poll(async () => (await officer.recordings(begun)).map((one) => one.state), { timeout: 20_000 })
    .toEqual(['stored']);
  const [recording] = await officer.recordings(begun);
  const [agent, pbx] = readWav(await officer.audio(recording?.id));
  if (!agent || !pbx) throw new Error('the recording has fewer than two channels');
  for (const [channel, hz] of [[agent, 440] as const, [pbx, 1000] as const]) {
    const edges = onsets(channel, hz);
    const half = channel.samples.length / channel.rate / 2;
    console.log(`${hz} Hz begins in the recording of ${2 * half} s at`, edges.map((at) => at.toFixed(2)).join(' '));
    expect(edges.filter((at) => at < 3).length, 'before the reload').toBeGreaterThan(0);
    expect(edges.filter((at) => at > 2 * half - 2).length, 'and after it').toBeGreaterThan(0);
  }
});

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
  await expect(dialog(page)).toContainText(/Ringing for 0:(09|1\d)/, { timeout: 12_000 });
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
  await expect(page.getByRole('timer')).toHaveText(/0:(0[6-9]|1\d)/, { timeout: 15_000 });
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
