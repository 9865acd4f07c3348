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

/** The line that was chosen last, by its call. */
const chosen = signal<string | null>(null);

export const phone = computed(() => {
  revision.value;
  const calls = device.calls;
  const lines = calls.filter((call) => call.state !== 'incoming');
  const current =
    lines.find((call) => call.id === chosen.value) ?? lines.find((call) => !call.held) ?? lines[0] ?? null;
  return {
    connection: device.connection,
    agent: device.agent,
    draining: device.draining,
    emergencyCalls: device.emergencyCalls,
    incoming: calls.find((call) => call.state === 'incoming') ?? null,
    current,
    /** The other line, where there are two. */
    other: lines.find((call) => call !== current) ?? null,
    calls: calls.length,
  };
});

let ticking: ReturnType<typeof setInterval> | undefined;

device.on('change', () => {
  revision.value++;
  const calls = device.calls;
  const ringing = calls.filter((call) => call.state === 'incoming');
  if (ringing.length > 0) ringer.start(ringing.every((call) => call.waiting));
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

device.on('transferFailed', ({ reason }) => {
  fault(words.transferFailed(words.reasons[reason] ?? words.reasonOther));
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
for (const gesture of ['pointerdown', 'keydown']) {
  addEventListener(gesture, () => {
    ringer.unlock();
    for (const call of device.calls) call.unlock();
  });
}

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

/** Holds whoever is on the line, so that two never hear each other. One who is not there yet is let go. */
async function holdOthers(but: Call | null): Promise<void> {
  for (const line of device.calls) {
    if (line === but || line.state === 'incoming' || line.held) continue;
    if (line.state === 'active') await line.hold();
    else await line.hangup();
  }
}

/** Accepts; a call that is running is held by it. */
export async function accept(call: Call): Promise<void> {
  await attempt(async () => {
    await holdOthers(call);
    await call.accept();
    chosen.value = call.id;
  });
}

export const hold = (call: Call) => attempt(() => call.hold());

/** Talks to `call`; the other line is held. */
export const talkTo = (call: Call) =>
  attempt(async () => {
    await holdOthers(call);
    await call.resume();
    chosen.value = call.id;
  });

/** Hands the other side over without asking. */
export const transfer = (call: Call, number: string) => attempt(() => call.transfer(number.trim()));

/** Asks somebody first: the call is held, and a second one placed. */
export const consult = (number: string) => place(number);

/** Joins the two others, and leaves. */
export const connectBoth = (call: Call, other: Call) => {
  // The one that is held was there first: its party is told of the other.
  const [first, second] = call.held ? [call, other] : [other, call];
  return attempt(() => first.transferTo(second));
};

export async function place(number: string): Promise<boolean> {
  const to = number.trim();
  if (to === '') return false;
  const placed = await attempt(async () => {
    await holdOthers(null);
    chosen.value = null;
    await device.call(to);
  });
  if (placed) dialled.value = '';
  return placed;
}
