import type { Page, WebSocketRoute } from '@playwright/test';

type Wire = { id?: number; method: string; params: Record<string, unknown> };

/** A gateway for the page: its HTTP answers and its side of the WebSocket. */
export class MockGateway {
  readonly requests: Wire[] = [];
  /** Requests that are refused, by method, with this code. */
  readonly refuse: Record<string, string> = {};
  /** Refuses new sockets. */
  down = false;
  /** Whether emergency numbers can be dialled. */
  emergencyCalls = true;
  #socket: WebSocketRoute | null = null;
  #seq = 0;
  #state = 'offline';
  #waiters: (() => void)[] = [];
  loggedIn = false;

  static async start(page: Page, { loggedIn = false } = {}): Promise<MockGateway> {
    const gateway = new MockGateway();
    gateway.loggedIn = loggedIn;
    const answer = (status: number, body: unknown, headers: Record<string, string> = {}) => ({
      status,
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    await page.route('**/phone', (route) =>
      route.continue({
        url: route
          .request()
          .url()
          .replace(/phone$/, 'phone.html'),
      }),
    );
    await page.route('**/api/v1/session', (route) =>
      route.fulfill(gateway.loggedIn ? answer(200, { signaling_token: 'fresh' }) : answer(401, {})),
    );
    await page.route('**/api/v1/logout', (route) => {
      gateway.loggedIn = false;
      return route.fulfill({ status: 204 });
    });
    await page.route('**/api/v1/login', (route) => {
      const { password } = route.request().postDataJSON();
      if (password === 'busy') return route.fulfill(answer(429, { code: 'login.too_many' }, { 'retry-after': '840' }));
      if (password === 'down') return route.fulfill(answer(503, { code: 'directory.unavailable' }));
      if (password === 'gone') return route.fulfill(answer(403, { code: 'login.disabled' }));
      if (password !== 'alice-demo') return route.fulfill(answer(401, { code: 'login.refused' }));
      gateway.loggedIn = true;
      return route.fulfill(answer(200, { signaling_token: 'first' }));
    });
    await page.routeWebSocket('**/api/v1/signal', (socket) => gateway.#take(socket));
    return gateway;
  }

  #take(socket: WebSocketRoute): void {
    if (this.down) return void socket.close({ code: 1013 });
    this.#socket = socket;
    socket.onMessage((text) => this.#onRequest(JSON.parse(String(text)) as Wire));
  }

  #onRequest(message: Wire): void {
    this.requests.push(message);
    for (const wake of this.#waiters.splice(0)) wake();
    const code = this.refuse[message.method];
    if (message.id === undefined) return;
    if (code)
      return this.#send({ id: message.id, error: { code: -32000, message: code, data: { code, retryable: false } } });
    const resume = message.params.resume as { seq: number } | undefined;
    const agent = { user: 'alice', extension: '1001', name: 'Alice Ahrens', state: this.#state };
    const limits = { message_bytes: 65536, messages_per_second: 50, calls: 8 };
    const opened = {
      session_id: '01900000-0000-7000-8000-000000000009',
      heartbeat_s: 15,
      resumed: resume !== undefined,
      replayed: resume !== undefined,
      seq: this.#seq,
      ice_servers: [],
      emergency_calls: this.emergencyCalls,
      calls: [],
      agent,
      limits,
    };
    this.#send({ id: message.id, result: message.method === 'session.open' ? opened : {} });
    if (message.method === 'agent.set_state') {
      this.#state = String(message.params.state);
      this.notify('agent.state', { state: this.#state });
    }
  }

  #send(message: object): void {
    this.#socket?.send(JSON.stringify({ jsonrpc: '2.0', ...message }));
  }

  notify(method: string, params: Record<string, unknown>): void {
    this.#send({ method, params: { seq: ++this.#seq, ...params } });
  }

  /** Cuts the WebSocket. */
  async cut(): Promise<void> {
    await this.#socket?.close({ code: 1011 });
    this.#socket = null;
  }

  /** The next request of this method, or the first that has come. */
  async request(method: string): Promise<Record<string, unknown>> {
    for (;;) {
      const found = this.requests.find((request) => request.method === method);
      if (found) return found.params;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }
}

/**
 * The gateway's side of the media: another page that offers, as the gateway does, and plays 1000 Hz.
 * What it hears of the phone is measured by {@link level}.
 */
export class MediaPeer {
  private constructor(readonly page: Page) {}

  static async start(page: Page): Promise<MediaPeer> {
    await page.route('**/blank', (route) => route.fulfill({ contentType: 'text/html', body: '<title>peer</title>' }));
    await page.goto('/blank');
    return new MediaPeer(page);
  }

  offer(): Promise<string> {
    return this.page.evaluate(async () => {
      const context = new AudioContext();
      const tone = new OscillatorNode(context, { frequency: 1000 });
      const out = new MediaStreamAudioDestinationNode(context);
      tone.connect(out);
      tone.start();
      const peer = new RTCPeerConnection();
      const heard = new AnalyserNode(context, { fftSize: 2048 });
      peer.ontrack = ({ track }) => {
        const stream = new MediaStream([track]);
        // Chromium feeds Web Audio from a remote track only when an element plays it too.
        const element = new Audio();
        element.muted = true;
        element.srcObject = stream;
        void element.play();
        context.createMediaStreamSource(stream).connect(heard);
      };
      for (const track of out.stream.getTracks()) peer.addTrack(track, out.stream);
      peer.createDataChannel('tandem');
      await peer.setLocalDescription();
      await new Promise<void>((resolve) => {
        if (peer.iceGatheringState === 'complete') return resolve();
        peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
      });
      Object.assign(globalThis, { peer, heard });
      return peer.localDescription?.sdp ?? '';
    });
  }

  answer(sdp: string): Promise<void> {
    return this.page.evaluate(
      (text) =>
        (globalThis as unknown as { peer: RTCPeerConnection }).peer.setRemoteDescription({ type: 'answer', sdp: text }),
      sdp,
    );
  }

  candidate(candidate: string): Promise<void> {
    return this.page.evaluate(
      (text) =>
        (globalThis as unknown as { peer: RTCPeerConnection }).peer.addIceCandidate({
          candidate: text,
          sdpMLineIndex: 0,
        }),
      candidate,
    );
  }

  connected(): Promise<boolean> {
    return this.page.evaluate(
      () => (globalThis as unknown as { peer: RTCPeerConnection }).peer.connectionState === 'connected',
    );
  }

  /** The loudest of the phone's audio over the next 1.5 s, 0–1: Chromium's fake microphone beeps once a second. */
  level(): Promise<number> {
    return this.page.evaluate(async () => {
      const { heard } = globalThis as unknown as { heard: AnalyserNode };
      const samples = new Float32Array(heard.fftSize);
      let loudest = 0;
      for (let i = 0; i < 60; i++) {
        await new Promise((resolve) => setTimeout(resolve, 25));
        heard.getFloatTimeDomainData(samples);
        loudest = Math.max(loudest, ...samples.map(Math.abs));
      }
      return loudest;
    });
  }
}
