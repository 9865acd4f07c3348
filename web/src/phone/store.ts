import { computed, signal } from '@preact/signals';
import type { AgentState } from '../generated/signaling';
import type { Call } from '../voice/call';
import { Device } from '../voice/device';
import { codeOf } from '../voice/error';
import { freshToken, login, logout } from './api';
import { Ringer } from './ringer';
import { words } from './strings';

/** A call that is over, for the list. */
export interface Past {
  id: string;
  direction: 'inbound' | 'outbound';
  number: string;
  name: string | null;
  missed: boolean;
  at: number;
}

/** A message to the person: a fault stays until it is dismissed, a note goes by itself. */
export interface Notice {
  kind: 'fault' | 'note';
  text: string;
}

const NOTE_MS = 5000;
const PAST_MAX = 20;

/** Which page shows. */
export const stage = signal<'checking' | 'login' | 'phone'>('checking');
export const notice = signal<Notice | null>(null);
export const past = signal<Past[]>([]);
export const dialled = signal('');
export const ringerAudible = signal(true);
/** The clock of everything that counts seconds; ticks while there is a call. */
export const now = signal(Date.now());
/** Counts changes of the device, so that whoever reads it is drawn anew. */
const revision = signal(0);

const ringer = new Ringer();
ringer.onAudible = (audible) => {
  ringerAudible.value = audible;
};

let firstToken: string | null = null;
const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/v1/signal`;
const device = new Device({ url, client: 'tandem-phone/0.1', getToken: takeToken });

/** The token of the login is good for once; later ones come by the cookie. */
async function takeToken(): Promise<string | null> {
  const token = firstToken;
  firstToken = null;
  return token ?? freshToken();
}

export const phone = computed(() => {
  revision.value;
  const calls = device.calls;
  return {
    connection: device.connection,
    agent: device.agent,
    draining: device.draining,
    incoming: calls.find((call) => call.state === 'incoming') ?? null,
    current: calls.find((call) => call.state !== 'incoming') ?? null,
    calls: calls.length,
  };
});

let ticking: ReturnType<typeof setInterval> | undefined;

device.on('change', () => {
  revision.value++;
  const calls = device.calls;
  if (calls.some((call) => call.state === 'incoming')) ringer.start();
  else ringer.stop();
  if (calls.length > 0) {
    ticking ??= setInterval(() => {
      now.value = Date.now();
    }, 500);
  } else {
    clearInterval(ticking);
    ticking = undefined;
  }
});

device.on('incoming', () => {
  now.value = Date.now();
});

device.on('ended', (call) => {
  const missed =
    call.direction === 'inbound' &&
    call.answeredAt === null &&
    call.ending?.reason !== 'rejected' &&
    call.ending?.reason !== 'answered_elsewhere';
  const { id, direction, number, name } = call;
  past.value = [{ id, direction, number, name, missed, at: Date.now() }, ...past.value].slice(0, PAST_MAX);
  const reason = call.ending?.reason ?? '';
  // A fault that a request has reported already is not told twice.
  if (words.errors[reason] === undefined || words.reasons[reason] !== undefined) {
    note(words.reasons[reason] ?? words.reasonOther);
  }
});

device.on('closed', (error) => {
  if (error.code === 'session.unauthenticated') stage.value = 'login';
  fault(words.errors[error.code] ?? words.errorOther);
});

addEventListener('online', () => device.nudge());
addEventListener('beforeunload', (event) => {
  if (device.calls.length > 0) event.preventDefault();
});
for (const gesture of ['pointerdown', 'keydown']) addEventListener(gesture, () => ringer.unlock());

let fading: ReturnType<typeof setTimeout> | undefined;

function note(text: string): void {
  clearTimeout(fading);
  notice.value = { kind: 'note', text };
  fading = setTimeout(() => {
    notice.value = null;
  }, NOTE_MS);
}

function fault(text: string): void {
  clearTimeout(fading);
  notice.value = { kind: 'fault', text };
}

/** Does something that may fail, and says so if it does. */
async function attempt(action: () => Promise<unknown>): Promise<boolean> {
  try {
    await action();
    if (notice.value?.kind === 'fault') notice.value = null;
    return true;
  } catch (error) {
    fault(words.errors[codeOf(error)] ?? words.errorOther);
    return false;
  }
}

/** Goes on with the session of the cookie, where there is one. */
export async function begin(): Promise<void> {
  try {
    firstToken = await freshToken();
  } catch {
    firstToken = null;
  }
  if (firstToken === null) {
    stage.value = 'login';
    return;
  }
  stage.value = 'phone';
  device.register();
}

export async function logIn(username: string, password: string): Promise<void> {
  firstToken = await login(username, password);
  notice.value = null;
  stage.value = 'phone';
  device.register();
}

export async function logOut(): Promise<void> {
  device.unregister();
  past.value = [];
  notice.value = null;
  stage.value = 'login';
  await logout();
}

export const reconnectNow = () => device.nudge();
/** After another window took over: takes the phone back. */
export const takeBack = () => {
  notice.value = null;
  device.register();
};
export const chooseState = (state: AgentState) => attempt(() => device.setState(state));
export const hangUp = (call: Call) => attempt(() => call.hangup());
export const reject = (call: Call) => attempt(() => call.reject());
export const mute = (call: Call, muted: boolean) => attempt(() => call.mute(muted));
export const sendDigit = (call: Call, digit: string) => attempt(() => call.sendDigits(digit));

/** Accepts; a call that is running ends by it, as there is no hold yet. */
export async function accept(call: Call): Promise<void> {
  await attempt(async () => {
    const running = phone.value.current;
    await call.accept();
    if (running) await running.hangup();
  });
}

export async function place(number: string): Promise<void> {
  const to = number.trim();
  if (to === '') return;
  if (await attempt(() => device.call(to))) dialled.value = '';
}
