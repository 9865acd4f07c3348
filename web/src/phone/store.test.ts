import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FakePeer, FakeSocket, FakeTrack, install, settle } from '../voice/fakes';

type Store = typeof import('./store');
let store: Store;
let socket: FakeSocket;
let loudness: number[];
let seq = 0;

class FakeAudioContext {
  state = 'running';
  currentTime = 0;
  destination = {};
  onstatechange: unknown = null;
  async resume(): Promise<void> {}
}

/** Enough of the Web Audio nodes for the ringer to ring; remembers how loud. */
function audioNodes(): void {
  const param = { setValueAtTime() {}, linearRampToValueAtTime() {}, exponentialRampToValueAtTime() {} };
  vi.stubGlobal('AudioContext', FakeAudioContext);
  vi.stubGlobal(
    'GainNode',
    class {
      gain = param;
      constructor(_: unknown, { gain }: { gain: number }) {
        if (gain > 0) loudness.push(gain);
      }
      connect(next: unknown): unknown {
        return next;
      }
      disconnect(): void {}
    },
  );
  vi.stubGlobal(
    'OscillatorNode',
    class {
      connect(next: unknown): unknown {
        return next;
      }
      start(): void {}
      stop(): void {}
    },
  );
}

beforeEach(async () => {
  vi.useFakeTimers();
  vi.resetModules();
  install(vi.stubGlobal);
  loudness = [];
  seq = 0;
  audioNodes();
  vi.stubGlobal('location', { protocol: 'https:', host: 'gateway' });
  vi.stubGlobal('addEventListener', () => {});
  vi.stubGlobal('navigator', { ...globalThis.navigator, language: 'en' });
  vi.stubGlobal('fetch', async () => new Response(JSON.stringify({ signaling_token: 'token' })));
  store = await import('./store');
  await store.begin();
  await settle();
  await vi.advanceTimersByTimeAsync(0);
  socket = FakeSocket.last;
  socket.accept();
  await settle();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function notify(method: string, params: Record<string, unknown>): void {
  socket.notify(method, { seq: ++seq, ...params });
}

async function rung(call_id: string, from: string, waiting = false) {
  notify('call.incoming', { call_id, from, to: '1001', name: null, trunk: 'pbx', waiting, sdp: 'offer' });
  await settle();
  const call = store.phone.value.incoming;
  if (!call) throw new Error('nothing rings');
  return call;
}

async function talking(call_id: string, from: string) {
  const call = await rung(call_id, from);
  await store.accept(call);
  notify('call.answered', { call_id });
  await settle();
  return call;
}

/** What was asked of the gateway, with the call, since the last look. */
function asked(): string[] {
  const wanted = ['call.hold', 'call.resume', 'call.accept', 'call.dial', 'call.hangup', 'call.transfer'];
  const found = socket.sent.filter(({ method }) => wanted.includes(method));
  socket.sent.length = 0;
  return found.map(({ method, params }) => `${method} ${params.to ?? params.call_id}`);
}

it('accepting a second call holds the first, and both are there', async () => {
  const first = await talking('c1', '600');
  asked();
  const second = await rung('c2', '601', true);
  await store.accept(second);
  expect(asked()).toEqual(['call.hold c1', 'call.accept c2']);
  expect(store.phone.value.current).toBe(second);
  expect(store.phone.value.other).toBe(first);
  expect(FakePeer.all[0]?.sender.track?.enabled, 'a held caller hears nothing of us').toBe(false);
  expect(FakePeer.all[1]?.sender.track?.enabled).toBe(true);
});

it('a second call that cannot be taken without losing the first is not taken', async () => {
  const first = await talking('c1', '600');
  asked();
  socket.refuse['call.hold'] = 'call.wrong_state';
  const second = await rung('c2', '601', true);
  await store.accept(second);
  expect(asked()).toEqual(['call.hold c1']);
  expect(store.phone.value.current).toBe(first);
  expect(first.held).toBe(false);
  expect(store.notice.value?.kind).toBe('fault');
});

it('rings softly while there is a call, and aloud without', async () => {
  await rung('c1', '600');
  expect(Math.max(...loudness)).toBeGreaterThan(0.2);
  const call = store.phone.value.incoming;
  if (call) await store.accept(call);
  loudness.length = 0;
  await rung('c2', '601', true);
  expect(Math.max(...loudness)).toBeLessThan(0.1);
});

it('swaps the two lines, one at a time', async () => {
  const first = await talking('c1', '600');
  const second = await rung('c2', '601', true);
  await store.accept(second);
  notify('call.answered', { call_id: 'c2' });
  asked();
  await store.talkTo(first);
  expect(asked()).toEqual(['call.hold c2', 'call.resume c1']);
  notify('call.resumed', { call_id: 'c1', by: 'agent' });
  expect(store.phone.value.current).toBe(first);
  expect([first.held, second.held]).toEqual([false, true]);
});

it('each side lifts its own hold', async () => {
  const call = await talking('c1', '600');
  notify('call.held', { call_id: 'c1', by: 'peer' });
  await store.hold(call);
  notify('call.resumed', { call_id: 'c1', by: 'agent' });
  expect([call.held, call.heldByPeer]).toEqual([false, true]);
  notify('call.resumed', { call_id: 'c1', by: 'peer' });
  expect(call.heldByPeer).toBe(false);
});

it('asks first: the call is held, another is placed, and both are connected', async () => {
  const first = await talking('c1', '600');
  asked();
  await store.consult('602');
  expect(asked()).toEqual(['call.hold c1', 'call.dial 602']);
  const second = store.phone.value.current;
  expect(second?.number).toBe('602');
  if (!second) return;
  notify('call.answered', { call_id: second.id });
  await store.connectBoth(second, first);
  expect(socket.paramsOf('call.transfer')).toEqual({ call_id: 'c1', consult_call: second.id });
});

it('a blind transfer says where it goes, and what became of it', async () => {
  const call = await talking('c1', '600');
  expect(await store.transfer(call, ' 601 ')).toBe(true);
  expect(socket.paramsOf('call.transfer')).toEqual({ call_id: 'c1', to: '601' });
  notify('call.transferring', { call_id: 'c1', to: '601', sip_code: 180 });
  expect(call.transferringTo).toBe('601');
  notify('call.transfer_failed', { call_id: 'c1', reason: 'busy', sip_code: 486 });
  expect(call.transferringTo).toBeNull();
  expect(store.notice.value?.text).toContain('The line is busy.');
  notify('call.ended', { call_id: 'c1', reason: 'transferred', sip_code: null, q850: 16 });
  expect(store.notice.value?.text).toBe('The call was transferred.');
});

it('a call that a colleague took is told, and not missed', async () => {
  await rung('c1', '600');
  notify('call.ended', { call_id: 'c1', reason: 'answered_elsewhere', sip_code: 487, q850: 26 });
  expect(store.notice.value?.text).toBe('The call was answered elsewhere.');
  expect(store.past.value[0]?.missed).toBe(false);
});

it('shows who is on the line after the other side transferred the call', async () => {
  const call = await talking('c1', '600');
  notify('call.party', { call_id: 'c1', number: '777', name: 'Grace' });
  expect([call.number, call.name]).toEqual(['777', 'Grace']);
});

it('a placed call leaves no open line behind it', async () => {
  await talking('c1', '600');
  expect(FakeTrack.all.filter((track) => track.enabled && track.readyState === 'live')).toHaveLength(1);
  await store.place('602');
  expect(FakePeer.all[0]?.sender.track?.enabled).toBe(false);
});
