import type { ClientRequest, OpenParams, OpenResult, ServerNotification } from '../generated/signaling';
import { backoffMs } from './backoff';
import { Emitter } from './emitter';
import { TandemError } from './error';

export type Method = ClientRequest['method'];
export type Params<M extends Method> = Extract<ClientRequest, { method: M }>['params'];

/** Requests that may be sent again on another socket: the gateway takes each of them once. */
const REPEATABLE: ReadonlySet<Method> = new Set<Method>([
  'agent.set_state',
  'call.dial',
  'call.alerting',
  'call.transport',
  'call.accept',
  'call.reject',
  'call.hangup',
  'call.mute',
  'call.hold',
  'call.resume',
]);

const PING_ANSWER_MS = 10_000;

type Events = {
  /** A session is open: a new one, or the old one again. */
  open: OpenResult;
  /** The socket is gone; trying again. */
  reconnecting: undefined;
  notification: ServerNotification;
  /** It will not come back by itself. */
  closed: TandemError;
};

interface Waiting {
  method: Method;
  params: unknown;
  resolve: () => void;
  reject: (error: TandemError) => void;
}

export interface SignallingOptions {
  url: string;
  /** A fresh signalling token; `null` where the login is over. */
  getToken: () => Promise<string | null>;
  client: string;
  random?: () => number;
}

/** The WebSocket to the gateway, across its losses. */
export class Signalling extends Emitter<Events> {
  readonly #options: SignallingOptions;
  readonly #waiting = new Map<number, Waiting>();
  #socket: WebSocket | null = null;
  #isOpen = false;
  #nextId = 1;
  #attempt = 0;
  #refusals = 0;
  #sessionId: string | null = null;
  #seq = 0;
  #stopped = true;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #heartbeat: ReturnType<typeof setInterval> | undefined;

  constructor(options: SignallingOptions) {
    super();
    this.#options = options;
  }

  /** Connects, and stays connected until {@link stop} or {@link Events.closed}. */
  start(): void {
    this.#stopped = false;
    void this.#connect();
  }

  /** Ends the session for good. */
  stop(): void {
    const socket = this.#socket;
    this.#end();
    socket?.close(1000, 'goodbye');
  }

  /** Tries at once: the network is back, or somebody asked. */
  nudge(): void {
    if (this.#stopped || this.#socket) return;
    clearTimeout(this.#retry);
    void this.#connect();
  }

  /** Settles on the gateway's answer. Where the socket is lost, repeatable requests wait for the next one. */
  request<M extends Method>(method: M, params: Params<M>): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(new TandemError('connection.lost', 'not connected', true));
      if (!this.#isOpen && !REPEATABLE.has(method)) {
        return reject(new TandemError('connection.lost', 'not connected', true));
      }
      const id = this.#nextId++;
      this.#waiting.set(id, { method, params, resolve, reject });
      if (this.#isOpen) this.#send(id, method, params);
    });
  }

  /** Sends without wanting an answer; lost where there is no socket. */
  tell<M extends Method>(method: M, params: Params<M>): void {
    if (this.#isOpen) this.#socket?.send(JSON.stringify({ jsonrpc: '2.0', method, params }));
  }

  #send(id: number, method: Method, params: unknown): void {
    this.#socket?.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }));
  }

  async #connect(): Promise<void> {
    let token: string | null;
    try {
      token = await this.#options.getToken();
    } catch {
      return this.#retryLater();
    }
    if (this.#stopped || this.#socket) return;
    if (token === null) return this.#fail(new TandemError('session.unauthenticated', 'the login is over'));

    const socket = new WebSocket(this.#options.url, 'tandem.v1');
    this.#socket = socket;
    const open: OpenParams = { token, client: this.#options.client };
    if (this.#sessionId) open.resume = { session_id: this.#sessionId, seq: this.#seq };
    socket.onopen = () => socket.send(JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'session.open', params: open }));
    socket.onmessage = (event) => this.#onMessage(String(event.data));
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#onClose(event.code);
    };
  }

  #onMessage(text: string): void {
    const message = JSON.parse(text) as {
      id?: number;
      result?: unknown;
      error?: { code: number; message: string; data?: { code: string; retryable: boolean } };
      method?: string;
      params?: { seq?: number };
    };
    if (message.method !== undefined) {
      const seq = message.params?.seq ?? 0;
      // Of a replay, what came before the loss is known already.
      if (seq && seq <= this.#seq) return;
      this.#seq = Math.max(this.#seq, seq);
      return this.emit('notification', message as unknown as ServerNotification);
    }
    // A refused open is followed by a close, whose code says the same.
    if (message.id === 0) return message.result ? this.#onOpened(message.result as OpenResult) : undefined;
    const waiting = this.#waiting.get(message.id ?? -1);
    if (!waiting || message.id === undefined) return;
    this.#waiting.delete(message.id);
    const { error } = message;
    if (error) {
      waiting.reject(
        new TandemError(error.data?.code ?? `rpc.${error.code}`, error.message, error.data?.retryable ?? false),
      );
    } else {
      waiting.resolve();
    }
  }

  #onOpened(result: OpenResult): void {
    this.#attempt = 0;
    this.#refusals = 0;
    this.#isOpen = true;
    this.#sessionId = result.session_id;
    if (!result.resumed || !result.replayed) this.#seq = result.seq;
    if (!result.resumed)
      this.#rejectWaiting((waiting) => waiting.method.startsWith('call.') && waiting.method !== 'call.dial');
    this.#startHeartbeat(result.heartbeat_s * 1000);
    this.emit('open', result);
    for (const [id, { method, params }] of this.#waiting) this.#send(id, method, params);
  }

  /** The page cannot see the server's pings: it asks for itself, to notice a dead network before it is told. */
  #startHeartbeat(everyMs: number): void {
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => {
      const socket = this.#socket;
      const late = setTimeout(() => {
        if (this.#socket !== socket) return;
        socket?.close();
        this.#onClose(1006);
      }, PING_ANSWER_MS);
      this.request('session.ping', {}).then(
        () => clearTimeout(late),
        () => clearTimeout(late),
      );
    }, everyMs);
  }

  #onClose(code: number): void {
    this.#socket = null;
    this.#isOpen = false;
    clearInterval(this.#heartbeat);
    if (this.#stopped) return;
    this.#rejectWaiting((waiting) => !REPEATABLE.has(waiting.method));
    switch (code) {
      case 4401:
        // The token may have run out on the way: one fresh one is tried.
        if (this.#refusals++ > 0) return this.#fail(new TandemError('session.unauthenticated', 'the login is over'));
        break;
      case 4403:
        return this.#fail(new TandemError('session.forbidden', 'this user may not use the phone'));
      case 4409:
        return this.#fail(new TandemError('session.replaced', 'the phone was opened elsewhere'));
      case 4426:
        return this.#fail(new TandemError('client.outdated', 'reload the page'));
      case 1012:
      case 1013:
        this.#attempt = Math.max(this.#attempt, 2);
    }
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#stopped) return;
    this.emit('reconnecting', undefined);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(
      () => void this.#connect(),
      backoffMs(this.#attempt++, this.#options.random ?? Math.random),
    );
  }

  #fail(error: TandemError): void {
    this.#end();
    this.emit('closed', error);
  }

  #end(): void {
    this.#stopped = true;
    this.#socket = null;
    this.#isOpen = false;
    this.#sessionId = null;
    this.#seq = 0;
    clearTimeout(this.#retry);
    clearInterval(this.#heartbeat);
    this.#rejectWaiting(() => true);
  }

  #rejectWaiting(which: (waiting: Waiting) => boolean): void {
    for (const [id, waiting] of [...this.#waiting]) {
      if (!which(waiting)) continue;
      this.#waiting.delete(id);
      waiting.reject(new TandemError('connection.lost', 'the connection was lost', true));
    }
  }
}
