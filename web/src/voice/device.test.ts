import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Call } from './call';
import { Device } from './device';
import type { TandemError } from './error';
import { FakePeer, FakeSocket, FakeTrack, install, microphone, settle } from './fakes';

let device: Device;
let tokens: (string | null)[];

beforeEach(() => {
  vi.useFakeTimers();
  install(vi.stubGlobal);
  tokens = [];
  device = new Device({
    url: 'ws://gateway/api/v1/signal',
    client: 'test/1',
    getToken: async () => (tokens.length > 0 ? (tokens.shift() ?? null) : 'token'),
    random: () => 0.5,
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function registered(): Promise<FakeSocket> {
  device.register();
  await settle();
  FakeSocket.last.accept();
  await settle();
  return FakeSocket.last;
}

async function rung(socket: FakeSocket, call_id = 'c1', seq = 1): Promise<Call> {
  const incoming = { seq, call_id, from: '600', to: '1001', name: 'Echo', trunk: 'pbx', waiting: false, sdp: 'offer' };
  socket.notify('call.incoming', incoming);
  await settle();
  const call = device.calls.find((one) => one.id === call_id);
  if (!call) throw new Error('no call');
  return call;
}

describe('session', () => {
  it('opens with the token in the first message and never in the address', async () => {
    const socket = await registered();
    expect(socket.protocol).toBe('tandem.v1');
    expect(socket.url).not.toContain('token');
    expect(socket.sent[0]).toMatchObject({
      id: 0,
      method: 'session.open',
      params: { token: 'token', client: 'test/1' },
    });
    expect(device.connection).toBe('open');
    expect(device.agent?.name).toBe('Alice');
  });

  it('goes on where it was after a loss, and takes each notification once', async () => {
    const socket = await registered();
    const call = await rung(socket, 'c1', 7);
    socket.lose();
    expect(device.connection).toBe('reconnecting');
    await vi.advanceTimersByTimeAsync(500);
    const second = FakeSocket.last;
    expect(second).not.toBe(socket);
    second.onopen?.();
    expect(second.sent[0]?.params).toMatchObject({ resume: { session_id: 's1', seq: 7 } });
    second.accept({ resumed: true, replayed: true, seq: 8 });
    second.notify('call.incoming', {
      seq: 7,
      call_id: 'c1',
      from: '600',
      to: '1001',
      name: null,
      trunk: 'pbx',
      waiting: false,
      sdp: 'o',
    });
    second.notify('call.recording', { seq: 8, call_id: 'c1', active: true });
    await settle();
    expect(device.calls).toHaveLength(1);
    expect(call.recording).toBe(true);
    expect(FakePeer.all).toHaveLength(1);
  });

  it('waits longer and longer', async () => {
    const socket = await registered();
    socket.lose();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 7; attempt++) {
      const opened = FakeSocket.all.length;
      let waited = 0;
      while (FakeSocket.all.length === opened) {
        await vi.advanceTimersByTimeAsync(50);
        waited += 50;
      }
      waits.push(waited);
      FakeSocket.last.lose();
    }
    expect(waits).toEqual([250, 300, 1200, 2700, 4800, 7000, 7000]);
  });

  it('sends an accept again that was on its way when the socket was lost', async () => {
    const socket = await registered();
    const call = await rung(socket);
    socket.ignore.add('call.accept');
    const accepted = call.accept();
    await settle();
    socket.lose();
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.accept({ resumed: true, replayed: true });
    await accepted;
    expect(FakeSocket.last.methods()).toContain('call.accept');
    expect(call.state).toBe('connecting');
  });

  it('never sends digits twice', async () => {
    const socket = await registered();
    const call = await rung(socket);
    socket.ignore.add('call.dtmf');
    const digits = expect(call.sendDigits('1')).rejects.toMatchObject({ code: 'connection.lost' });
    socket.lose();
    await digits;
    await expect(call.sendDigits('2')).rejects.toMatchObject({ code: 'connection.lost' });
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.accept({ resumed: true, replayed: true });
    await settle();
    expect(FakeSocket.last.methods()).not.toContain('call.dtmf');
  });

  it('drops calls that a snapshot no longer has', async () => {
    const socket = await registered();
    const call = await rung(socket);
    socket.lose();
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.accept({ resumed: true, replayed: false, seq: 90, calls: [] });
    expect(call.ending?.reason).toBe('connection.lost');
    expect(device.calls).toHaveLength(0);
  });

  it('is available again in a new session after the old one ran out', async () => {
    const socket = await registered();
    await device.setState('available');
    socket.lose();
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.accept();
    await settle();
    expect(FakeSocket.last.paramsOf('agent.set_state')).toEqual({ state: 'available' });
  });

  it('ends when another page took over, and does not fight for it', async () => {
    const socket = await registered();
    const closed = vi.fn<(error: TandemError) => void>();
    device.on('closed', closed);
    socket.notify('session.replaced', { seq: 1 });
    socket.lose(4409);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(closed.mock.calls[0]?.[0].code).toBe('session.replaced');
    expect(FakeSocket.all).toHaveLength(1);
  });

  it('tries one fresh token, then asks to log in', async () => {
    const closed = vi.fn<(error: TandemError) => void>();
    device.on('closed', closed);
    device.register();
    await settle();
    FakeSocket.last.lose(4401);
    await vi.advanceTimersByTimeAsync(500);
    expect(FakeSocket.all).toHaveLength(2);
    FakeSocket.last.lose(4401);
    expect(closed.mock.calls[0]?.[0].code).toBe('session.unauthenticated');
  });

  it('ends when there is no token any more', async () => {
    tokens = [null];
    const closed = vi.fn<(error: TandemError) => void>();
    device.on('closed', closed);
    device.register();
    await settle();
    expect(closed.mock.calls[0]?.[0].code).toBe('session.unauthenticated');
    expect(FakeSocket.all).toHaveLength(0);
  });

  it('notices a network that died without a word', async () => {
    const socket = await registered();
    socket.ignore.add('session.ping');
    await vi.advanceTimersByTimeAsync(15_000);
    expect(socket.methods()).toContain('session.ping');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(device.connection).not.toBe('open');
  });

  it('says goodbye with 1000 when the person logs out', async () => {
    const socket = await registered();
    device.unregister();
    expect(socket.closedWith).toBe(1000);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.all).toHaveLength(1);
  });
});

describe('incoming call', () => {
  it('alerts and brings the transport up while it rings, with a cold microphone', async () => {
    const socket = await registered();
    const call = await rung(socket);
    expect(socket.methods()).toEqual(expect.arrayContaining(['call.alerting', 'call.transport']));
    expect(socket.paramsOf('call.transport')).toEqual({ call_id: 'c1', sdp: 'answer sendrecv cold' });
    expect(microphone.opened).toBe(0);
    expect(call.state).toBe('incoming');
  });

  it('opens the microphone on accept and negotiates nothing anew', async () => {
    const socket = await registered();
    const call = await rung(socket);
    await call.accept();
    expect(FakePeer.all[0]?.sender.track).toBeInstanceOf(FakeTrack);
    expect(FakePeer.all[0]?.answers).toBe(1);
    expect(socket.methods().filter((method) => method === 'call.transport')).toHaveLength(1);
    expect(call.state).toBe('connecting');
    socket.notify('call.answered', { seq: 2, call_id: 'c1' });
    expect(call.state).toBe('active');
  });

  it.each([
    ['NotAllowedError', 'microphone.denied'],
    ['NotFoundError', 'microphone.missing'],
    ['NotReadableError', 'microphone.busy'],
  ])('a microphone with %s fails the accept with %s, and the call rings on', async (fault, code) => {
    const socket = await registered();
    const call = await rung(socket);
    microphone.fault = fault;
    await expect(call.accept()).rejects.toMatchObject({ code });
    expect(call.state).toBe('incoming');
    expect(socket.methods()).not.toContain('call.accept');
    microphone.fault = null;
    await call.accept();
    expect(call.state).toBe('connecting');
  });

  it('an insecure page has no microphone, and says so', async () => {
    vi.stubGlobal('isSecureContext', false);
    const call = await rung(await registered());
    await expect(call.accept()).rejects.toMatchObject({ code: 'context.insecure' });
  });

  it('a refused accept closes the microphone again', async () => {
    const socket = await registered();
    const call = await rung(socket);
    socket.refuse['call.accept'] = 'call.wrong_state';
    await expect(call.accept()).rejects.toMatchObject({ code: 'call.wrong_state' });
    await settle();
    expect(microphone.live?.readyState).toBe('ended');
    expect(FakePeer.all[0]?.sender.track).toBeNull();
  });

  it('lets go of microphone and peer when it ends', async () => {
    const socket = await registered();
    const call = await rung(socket);
    await call.accept();
    const track = FakePeer.all[0]?.sender.track;
    socket.notify('call.ended', { seq: 3, call_id: 'c1', reason: 'hangup', sip_code: null, q850: 16 });
    expect(call.ending).toEqual({ reason: 'hangup', sipCode: null });
    expect([track?.readyState, microphone.live?.readyState]).toEqual(['ended', 'ended']);
    expect(FakePeer.all[0]?.closed).toBe(true);
    expect(device.calls).toHaveLength(0);
  });

  it('is silent at once when muted, whatever the gateway says', async () => {
    const socket = await registered();
    const call = await rung(socket);
    await call.accept();
    socket.refuse['call.mute'] = 'session.busy';
    await expect(call.mute(true)).rejects.toMatchObject({ code: 'session.busy' });
    expect(FakePeer.all[0]?.sender.track?.enabled).toBe(false);
    expect(call.muted).toBe(true);
  });

  it('is over here at once when hung up, and the gateway is told when it is back', async () => {
    const socket = await registered();
    const call = await rung(socket);
    await call.accept();
    socket.lose();
    void call.hangup();
    expect(call.state).toBe('ended');
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.accept({ resumed: true, replayed: true });
    expect(FakeSocket.last.paramsOf('call.hangup')).toEqual({ call_id: 'c1' });
  });

  it('trickles candidates without waiting', async () => {
    const socket = await registered();
    await rung(socket);
    FakePeer.all[0]?.onicecandidate?.({ candidate: { candidate: 'candidate:1' } });
    FakePeer.all[0]?.onicecandidate?.({ candidate: null });
    const sent = socket.sent.filter((message) => message.method === 'media.candidate');
    expect(sent).toEqual([
      { jsonrpc: '2.0', method: 'media.candidate', params: { call_id: 'c1', candidate: 'candidate:1' } },
    ]);
  });
});

describe('dialled call', () => {
  it('is placed under its own id, and answered with the microphone', async () => {
    const socket = await registered();
    const call = await device.call('600');
    expect(call.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(socket.paramsOf('call.dial')).toEqual({ call_id: call.id, to: '600' });
    socket.notify('call.offer', { seq: 1, call_id: call.id, sdp: 'offer' });
    await settle();
    expect(socket.paramsOf('call.transport')).toMatchObject({ call_id: call.id });
    expect(FakePeer.all[0]?.sender.track).toBeInstanceOf(FakeTrack);
    const states: string[] = [];
    for (const method of ['call.ringing', 'call.early_media', 'call.answered']) {
      socket.notify(method, { seq: states.length + 2, call_id: call.id });
      states.push(call.state);
    }
    expect(states).toEqual(['ringing', 'early', 'active']);
  });

  it('is not placed without a microphone', async () => {
    const socket = await registered();
    microphone.fault = 'NotAllowedError';
    await expect(device.call('600')).rejects.toMatchObject({ code: 'microphone.denied' });
    expect(socket.methods()).not.toContain('call.dial');
    expect(device.calls).toHaveLength(0);
  });

  it('to an emergency number is refused where the gateway says from the start that it cannot place one', async () => {
    device.register();
    await settle();
    const socket = FakeSocket.last;
    socket.accept({ emergency_calls: false });
    await settle();
    expect(device.emergencyCalls).toBe(false);
    socket.refuse['call.dial'] = 'call.emergency_refused';
    await expect(device.call('112')).rejects.toMatchObject({ code: 'call.emergency_refused' });
    expect(device.calls).toHaveLength(0);
    socket.lose();
    await vi.advanceTimersByTimeAsync(500);
    expect(device.emergencyCalls, 'the notice outlasts a lost connection').toBe(false);
    FakeSocket.last.accept({ resumed: true, replayed: true, emergency_calls: true });
    expect(device.emergencyCalls, 'the next opening has the last word').toBe(true);
  });

  it('that is refused is gone, and so is the microphone', async () => {
    const socket = await registered();
    socket.refuse['call.dial'] = 'call.forbidden';
    await expect(device.call('0900')).rejects.toMatchObject({ code: 'call.forbidden' });
    expect(device.calls).toHaveLength(0);
    expect(microphone.live?.readyState).toBe('ended');
  });
});

describe('state', () => {
  it('going available asks for the microphone and closes it again', async () => {
    const socket = await registered();
    await device.setState('available');
    expect(microphone.opened).toBe(1);
    expect(microphone.live?.readyState).toBe('ended');
    expect(socket.paramsOf('agent.set_state')).toEqual({ state: 'available' });
    socket.notify('agent.state', { seq: 1, state: 'available' });
    expect(device.agent?.state).toBe('available');
  });

  it('that the gateway took away after an unanswered call is not undone by a new session', async () => {
    const socket = await registered();
    await device.setState('available');
    // [agents] unavailable_after_no_answer: nobody was there, so nobody is rung again until they say so themselves.
    socket.notify('agent.state', { seq: 1, state: 'offline' });
    expect(device.agent?.state).toBe('offline');
    socket.lose();
    await vi.advanceTimersByTimeAsync(500);
    FakeSocket.last.accept();
    await settle();
    expect(FakeSocket.last.methods()).not.toContain('agent.set_state');
    expect(device.agent?.state).toBe('offline');
  });

  it('without a microphone nobody becomes available', async () => {
    const socket = await registered();
    microphone.fault = 'NotFoundError';
    await expect(device.setState('available')).rejects.toMatchObject({ code: 'microphone.missing' });
    expect(socket.methods()).not.toContain('agent.set_state');
    await device.setState('busy');
    expect(socket.paramsOf('agent.set_state')).toEqual({ state: 'busy' });
  });
});

describe('a reload', () => {
  const line = {
    seq: 1,
    call_id: 'c1',
    sdp: 'offer',
    direction: 'outbound',
    number: '600',
    name: 'Echo',
    talked_ms: 61_000,
    held_by_agent: false,
    held_by_peer: false,
    recording: true,
  };

  async function reattached(changes: Partial<typeof line> = {}): Promise<{ socket: FakeSocket; call: Call }> {
    const socket = await registered();
    socket.notify('call.reattach', { ...line, ...changes });
    await settle();
    const call = device.calls[0];
    if (!call) throw new Error('no call');
    return { socket, call };
  }

  it('in a call: the line is drawn as it was, with a new transport and the microphone', async () => {
    const { socket, call } = await reattached();
    expect(call).toMatchObject({
      state: 'active',
      direction: 'outbound',
      number: '600',
      name: 'Echo',
      recording: true,
    });
    expect(Date.now() - (call.answeredAt ?? 0)).toBe(61_000);
    expect(socket.paramsOf('call.transport')).toEqual({ call_id: 'c1', sdp: 'answer sendrecv cold' });
    expect(socket.methods()).not.toContain('call.accept');
    expect(microphone.opened).toBe(1);
    expect(FakePeer.all[0]?.sender.track?.enabled).toBe(true);
    expect(call.microphoneTrouble).toBeNull();
  });

  it('of a held call: nothing of us is heard until it is resumed', async () => {
    const { socket, call } = await reattached({ held_by_agent: true, held_by_peer: true });
    expect(call).toMatchObject({ held: true, heldByPeer: true });
    expect(FakePeer.all[0]?.sender.track?.enabled).toBe(false);
    await call.resume();
    socket.notify('call.resumed', { seq: 2, call_id: 'c1', by: 'agent' });
    expect(FakePeer.all[0]?.sender.track?.enabled).toBe(true);
  });

  it('without a microphone: the call goes on, and the line says why nobody hears us', async () => {
    microphone.fault = 'NotAllowedError';
    const { socket, call } = await reattached();
    expect(call).toMatchObject({ state: 'active', microphoneTrouble: 'microphone.denied' });
    await call.hangup();
    expect(socket.methods()).toContain('call.hangup');
    expect(FakePeer.all[0]?.closed).toBe(true);
  });

  it('while the microphone is asked for: the line says so', async () => {
    const socket = await registered();
    socket.notify('call.reattach', line);
    expect(device.calls[0]?.microphoneTrouble).toBe('asking');
    await settle();
    expect(device.calls[0]?.microphoneTrouble).toBeNull();
  });

  it('ends as any call: the microphone is closed', async () => {
    const { socket, call } = await reattached();
    socket.notify('call.ended', { seq: 2, call_id: 'c1', reason: 'hangup', sip_code: null, q850: 16 });
    expect(call.state).toBe('ended');
    expect(device.calls).toHaveLength(0);
    expect(microphone.live?.readyState).toBe('ended');
  });
});
