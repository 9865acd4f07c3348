/** A gateway and a browser for unit tests: nothing here talks to a network. */

export class FakeSocket {
  static all: FakeSocket[] = [];
  static get last(): FakeSocket {
    const last = FakeSocket.all.at(-1);
    if (!last) throw new Error('no socket was opened');
    return last;
  }

  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  readonly sent: { id?: number; method: string; params: Record<string, unknown> }[] = [];
  closedWith: number | null = null;
  /** Methods that are answered with an error of this code. */
  refuse: Record<string, string> = {};
  /** Methods that get no answer. */
  ignore = new Set<string>();

  constructor(
    readonly url: string,
    readonly protocol: string,
  ) {
    FakeSocket.all.push(this);
  }

  send(text: string): void {
    const message = JSON.parse(text);
    this.sent.push(message);
    if (message.id === undefined || message.id === 0 || this.ignore.has(message.method)) return;
    const code = this.refuse[message.method];
    const body = code ? { error: { code: -32000, message: code, data: { code, retryable: false } } } : { result: {} };
    queueMicrotask(() => this.receive({ jsonrpc: '2.0', id: message.id, ...body }));
  }

  close(code = 1005): void {
    this.closedWith = code;
  }

  receive(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  notify(method: string, params: Record<string, unknown>): void {
    this.receive({ jsonrpc: '2.0', method, params });
  }

  /** The gateway takes the session. */
  accept(result: Record<string, unknown> = {}): void {
    this.onopen?.();
    this.receive({
      jsonrpc: '2.0',
      id: 0,
      result: {
        session_id: 's1',
        heartbeat_s: 15,
        resumed: false,
        replayed: false,
        seq: 0,
        ice_servers: [],
        emergency_calls: true,
        calls: [],
        agent: { user: 'alice', extension: '1001', name: 'Alice', state: 'offline' },
        limits: { message_bytes: 65536, messages_per_second: 50, calls: 8 },
        ...result,
      },
    });
  }

  lose(code = 1006): void {
    this.onclose?.({ code });
  }

  methods(): string[] {
    return this.sent.map((message) => message.method);
  }

  paramsOf(method: string): Record<string, unknown> | undefined {
    return this.sent.findLast((message) => message.method === method)?.params;
  }
}

export class FakeTrack {
  readonly kind = 'audio';
  enabled = true;
  readyState: 'live' | 'ended' = 'live';
  stop(): void {
    this.readyState = 'ended';
  }
  clone(): FakeTrack {
    const copy = new FakeTrack();
    FakeTrack.all.push(copy);
    return copy;
  }
  static all: FakeTrack[] = [];
}

export class FakePeer {
  static all: FakePeer[] = [];
  ontrack: unknown = null;
  onicecandidate: ((event: { candidate: { candidate: string } | null }) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  connectionState = 'new';
  closed = false;
  answers = 0;
  readonly sender = {
    track: null as FakeTrack | null,
    replaceTrack: async (track: FakeTrack | null) => {
      this.sender.track = track;
    },
  };
  readonly transceiver = { direction: 'recvonly', sender: this.sender, receiver: { track: { kind: 'audio' } } };

  constructor() {
    FakePeer.all.push(this);
  }
  async setRemoteDescription(): Promise<void> {}
  getTransceivers(): unknown[] {
    return [this.transceiver];
  }
  async createAnswer(): Promise<{ type: 'answer'; sdp: string }> {
    this.answers++;
    return { type: 'answer', sdp: `answer ${this.transceiver.direction} ${this.sender.track ? 'hot' : 'cold'}` };
  }
  async setLocalDescription(): Promise<void> {}
  async getStats(): Promise<Map<string, unknown>> {
    return new Map();
  }
  close(): void {
    this.closed = true;
  }
}

/** What `getUserMedia` does next: a stream, or the name of the error. */
export const microphone = { fault: null as string | null, opened: 0, live: null as FakeTrack | null };

/** Puts the fakes where the browser's own would be. */
export function install(stub: (name: string, value: unknown) => void): void {
  FakeSocket.all = [];
  FakePeer.all = [];
  FakeTrack.all = [];
  Object.assign(microphone, { fault: null, opened: 0, live: null });
  stub('WebSocket', FakeSocket);
  stub('RTCPeerConnection', FakePeer);
  stub('isSecureContext', true);
  stub(
    'Audio',
    class {
      srcObject: unknown = null;
      async play(): Promise<void> {}
    },
  );
  stub('navigator', {
    mediaDevices: {
      getUserMedia: async () => {
        if (microphone.fault) throw Object.assign(new Error(microphone.fault), { name: microphone.fault });
        microphone.opened++;
        const track = new FakeTrack();
        microphone.live = track;
        return { getAudioTracks: () => [track], getTracks: () => [track] };
      },
    },
  });
}

/** Lets all that is ready run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 30; i++) await Promise.resolve();
}
