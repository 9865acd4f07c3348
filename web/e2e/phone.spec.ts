import { expect, type Page, test } from '@playwright/test';
import { MediaPeer, MockGateway } from './mock';

const CALL = '01900000-0000-7000-8000-000000000001';
const SHOTS = process.env.SHOTS;

let faults: string[];

test.beforeEach(({ page }) => {
  faults = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    if (/Content Security Policy|Trusted/.test(message.text())) faults.push(message.text());
  });
});

test.afterEach(() => expect(faults).toEqual([]));

async function shot(page: Page, name: string): Promise<void> {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png` });
}

async function logIn(page: Page): Promise<void> {
  await page.goto('/phone');
  await page.getByLabel('User name').fill('alice');
  await page.getByLabel('Password').fill('alice-demo');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Alice Ahrens' })).toBeVisible();
}

async function ring(gateway: MockGateway, sdp: string, name: string | null = 'Berta Bauer'): Promise<void> {
  gateway.notify('call.incoming', {
    call_id: CALL,
    from: '+4930123456',
    to: '1001',
    name,
    trunk: 'pbx',
    waiting: false,
    sdp,
  });
  await gateway.request('call.alerting');
}

async function mediaPeer(page: Page): Promise<MediaPeer> {
  return MediaPeer.start(await page.context().newPage());
}

test('the login says what went wrong', async ({ page }) => {
  await MockGateway.start(page);
  await page.goto('/phone');
  await expect(page.getByLabel('User name')).toBeFocused();
  await shot(page, 'login');
  for (const [password, words] of [
    ['wrong', 'User name or password is wrong.'],
    ['gone', 'This account is disabled.'],
    ['down', 'The directory cannot be reached'],
    ['busy', 'Too many tries. Please try again in 14 minutes.'],
  ] as const) {
    await page.getByLabel('User name').fill('alice');
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await expect(page.getByRole('alert').filter({ hasText: words })).toBeVisible();
  }
  await shot(page, 'login-fault');
});

test('a call is taken, heard both ways, and ended', async ({ page }) => {
  const gateway = await MockGateway.start(page);
  await logIn(page);
  await page.getByLabel('Available').check();
  await expect(page.getByLabel('Available')).toBeChecked();
  await expect(page.getByText('Calls ring here.')).toBeVisible();
  await shot(page, 'idle');

  const peer = await mediaPeer(page);
  await ring(gateway, await peer.offer());
  const transport = await gateway.request('call.transport');
  await peer.answer(String(transport.sdp));
  await page.bringToFront();
  const dialog = page.getByRole('alertdialog', { name: 'Incoming call' });
  await expect(dialog).toBeFocused();
  await expect(dialog).toContainText('Berta Bauer');
  await expect(dialog).toContainText('+4930123456');
  await expect.poll(() => peer.connected()).toBe(true);
  expect(await peer.level(), 'no audio of the page before accept').toBeLessThan(0.001);
  await expect(dialog).toContainText(/Ringing for 0:0[1-9]/);
  await shot(page, 'ringing');

  await dialog.getByRole('button', { name: 'Accept' }).click();
  await gateway.request('call.accept');
  gateway.notify('call.answered', { call_id: CALL });
  gateway.notify('call.recording', { call_id: CALL, active: true });
  await expect(page.getByText('Recording', { exact: true })).toBeVisible();
  await expect.poll(() => peer.level()).toBeGreaterThan(0.05);
  await expect(page.getByText('Good quality')).toBeVisible();
  await expect(page.getByRole('timer')).toHaveText(/0:0[2-9]/);
  await shot(page, 'in-call');

  await page.getByRole('button', { name: 'Mute' }).click();
  await expect(page.getByText('Muted: they cannot hear you')).toBeVisible();
  expect(await gateway.request('call.mute')).toEqual({ call_id: CALL, muted: true });
  await expect.poll(() => peer.level()).toBeLessThan(0.001);
  await page.getByRole('button', { name: 'Unmute' }).click();

  await page.getByRole('button', { name: 'Keypad' }).click();
  await page.getByRole('button', { name: '5', exact: true }).click();
  await page.keyboard.press('#');
  await expect(page.getByLabel('Sent')).toHaveText('5#');
  const digits = gateway.requests
    .filter((request) => request.method === 'call.dtmf')
    .map((request) => request.params.digits);
  expect(digits).toEqual(['5', '#']);
  await shot(page, 'keypad');

  await page.getByRole('button', { name: 'Hang up' }).click();
  await gateway.request('call.hangup');
  await expect(page.getByText('Call ended.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Call Berta Bauer' })).toBeVisible();
  await shot(page, 'after');
});

test('a call is held from both sides, resumed, asked about on a second line and handed over', async ({ page }) => {
  const gateway = await MockGateway.start(page);
  await logIn(page);
  const peer = await mediaPeer(page);
  await ring(gateway, await peer.offer());
  await page.bringToFront();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Accept' }).click();
  await gateway.request('call.accept');
  gateway.notify('call.answered', { call_id: CALL });
  await expect(page.getByRole('timer')).toBeVisible();

  await page.getByRole('button', { name: 'Hold', exact: true }).click();
  expect(await gateway.request('call.hold')).toEqual({ call_id: CALL });
  gateway.notify('call.held', { call_id: CALL, by: 'agent' });
  await expect(page.getByText('On hold: they hear music, and not you')).toBeVisible();
  gateway.notify('call.held', { call_id: CALL, by: 'peer' });
  await expect(page.getByText('The other side put you on hold')).toBeVisible();
  await shot(page, 'held-by-both');
  gateway.notify('call.resumed', { call_id: CALL, by: 'peer' });
  await shot(page, 'held');
  await page.getByRole('button', { name: 'Resume' }).click();
  await gateway.request('call.resume');
  gateway.notify('call.resumed', { call_id: CALL, by: 'agent' });
  await expect(page.getByText('On hold')).toHaveCount(0);

  await page.getByRole('button', { name: 'Transfer', exact: true }).click();
  await page.getByLabel('Transfer to').fill('1005');
  await shot(page, 'transfer');
  await page.getByRole('button', { name: 'Ask first' }).click();
  const consult = await gateway.request('call.dial');
  expect(consult.to).toBe('1005');
  gateway.notify('call.held', { call_id: CALL, by: 'agent' });
  gateway.notify('call.ringing', { call_id: consult.call_id });
  const line = page.getByRole('region', { name: 'Other line: Berta Bauer' });
  await expect(line).toContainText('On hold');
  await expect(line.getByRole('button', { name: 'Connect both' })).toBeDisabled();
  gateway.notify('call.answered', { call_id: consult.call_id });
  await expect(line.getByRole('button', { name: 'Connect both' })).toBeEnabled();
  await shot(page, 'two-lines');
  await line.getByRole('button', { name: 'Connect both' }).click();
  expect(await gateway.request('call.transfer')).toEqual({ call_id: CALL, consult_call: consult.call_id });
  gateway.notify('call.transferring', { call_id: CALL, to: '1005', sip_code: null });
  await expect(line).toContainText('Transferring to 1005…');
  await expect(line.getByRole('button', { name: 'Connect both' })).toBeDisabled();
  await expect(line.getByRole('button', { name: 'Swap' })).toBeDisabled();
  await shot(page, 'transferring');
  gateway.notify('call.transfer_failed', { call_id: CALL, reason: 'busy', sip_code: 486 });
  await expect(page.getByRole('alert')).toContainText('The call is back on the line.');
  await expect(line.getByRole('button', { name: 'Connect both' })).toBeEnabled();
  await shot(page, 'transfer-failed');
});

test('a denied microphone fails the accept with clear words while it rings on', async ({ page }) => {
  const gateway = await MockGateway.start(page);
  await page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
  });
  await logIn(page);
  await page.getByLabel('Available').click();
  await expect(page.getByRole('alert')).toContainText('The microphone is blocked');
  await expect(page.getByLabel('Offline')).toBeChecked();

  const peer = await mediaPeer(page);
  await ring(gateway, await peer.offer());
  await page.bringToFront();
  const dialog = page.getByRole('alertdialog');
  await dialog.getByRole('button', { name: 'Accept' }).click();
  await expect(dialog.getByRole('alert')).toContainText('The microphone is blocked');
  await shot(page, 'microphone-denied');
  expect(gateway.requests.map((request) => request.method)).not.toContain('call.accept');

  await page.keyboard.press('Escape');
  await expect(dialog).toBeVisible();
  // Keys count only once the dialog has been there for a moment.
  await expect(dialog).toContainText(/Ringing for 0:0[1-9]/);
  await page.keyboard.press('r');
  await gateway.request('call.reject');
  await expect(dialog).toBeHidden();
});

test('a lost connection shows, and the session goes on', async ({ page }) => {
  const gateway = await MockGateway.start(page);
  await logIn(page);
  gateway.down = true;
  await gateway.cut();
  await expect(page.getByText('Connection lost. Reconnecting…')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Call', exact: true })).toBeDisabled();
  await shot(page, 'reconnecting');
  await expect(page.getByRole('button', { name: 'Try now' })).toBeVisible();
  gateway.down = false;
  await expect(page.getByText('Connection lost. Reconnecting…')).toBeHidden({ timeout: 15_000 });
  const opens = gateway.requests.filter((request) => request.method === 'session.open');
  expect(opens.at(-1)?.params.resume).toMatchObject({ session_id: '01900000-0000-7000-8000-000000000009' });
});

test('a number is dialled with the keyboard, and busy is said', async ({ page }) => {
  const gateway = await MockGateway.start(page);
  await logIn(page);
  await page.getByLabel('Number', { exact: true }).fill('+49 (30) 600');
  await page.keyboard.press('Enter');
  const dial = await gateway.request('call.dial');
  expect(dial.to).toBe('+4930600');
  await expect(page.getByText('Calling…')).toBeVisible();
  gateway.notify('call.ringing', { call_id: dial.call_id });
  await expect(page.getByText('Ringing…')).toBeVisible();
  await shot(page, 'dialling');
  gateway.notify('call.ended', { call_id: dial.call_id, reason: 'busy', sip_code: 486, q850: 17 });
  await expect(page.getByText('The line is busy.')).toBeVisible();
});

test('a refused number is said', async ({ page }) => {
  const gateway = await MockGateway.start(page);
  gateway.refuse['call.dial'] = 'call.forbidden';
  await logIn(page);
  await page.getByRole('button', { name: '9', exact: true }).click();
  await page.getByRole('button', { name: 'Call', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('You may not call this number.');
});

test('a phone without emergency calls says so from the login on, in a call too', async ({ page }) => {
  const gateway = await MockGateway.start(page);
  gateway.emergencyCalls = false;
  gateway.refuse['call.dial'] = 'call.emergency_refused';
  await logIn(page);
  const said = page.getByText('Emergency calls cannot be made from this phone.', { exact: true });
  await expect(said).toBeVisible();
  await shot(page, 'no-emergency');
  await page.getByLabel('Number', { exact: true }).fill('112');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('alert')).toContainText('Use a mobile or another telephone, now.');
  await shot(page, 'no-emergency-refused');
  await gateway.cut();
  await expect(said).toBeVisible();
});

test('a phone with emergency calls has no such notice', async ({ page }) => {
  await MockGateway.start(page);
  await logIn(page);
  await expect(page.getByText('Emergency calls')).toHaveCount(0);
});

test('a reload goes on without a new login, and a log-out ends it', async ({ page }) => {
  const gateway = await MockGateway.start(page, { loggedIn: true });
  await page.goto('/phone');
  await expect(page.getByRole('heading', { name: 'Alice Ahrens' })).toBeVisible();
  await page.getByRole('button', { name: 'Log out' }).click();
  await expect(page.getByLabel('Password')).toBeVisible();
  expect(gateway.loggedIn).toBe(false);
});

test.describe('in German and dark', () => {
  test.use({ locale: 'de-DE', colorScheme: 'dark', viewport: { width: 390, height: 844 } });

  test('the page speaks German on a telephone', async ({ page }) => {
    const gateway = await MockGateway.start(page, { loggedIn: true });
    await page.goto('/phone');
    await page.getByLabel('Verfügbar').check();
    await expect(page.getByText('Anrufe klingeln hier.')).toBeVisible();
    await shot(page, 'idle-de-dark');
    const peer = await mediaPeer(page);
    await ring(gateway, await peer.offer(), null);
    await page.bringToFront();
    await expect(page.getByRole('alertdialog', { name: 'Eingehender Anruf' })).toBeVisible();
    await shot(page, 'ringing-de-dark');
    const transport = await gateway.request('call.transport');
    await peer.answer(String(transport.sdp));
    await page.getByRole('button', { name: 'Annehmen' }).click();
    await gateway.request('call.accept');
    gateway.notify('call.answered', { call_id: CALL });
    gateway.notify('call.recording', { call_id: CALL, active: true });
    await expect(page.getByText('Gute Qualität')).toBeVisible();
    await shot(page, 'in-call-de-dark');
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow, 'nothing sticks out at the side').toBe(0);
  });
});
