import type { AgentState, AgentView, IceServer, OpenResult, ServerNotification } from '../generated/signaling';
import { Call, type CallHost, type Ending } from './call';
import { Emitter } from './emitter';
import type { TandemError } from './error';
import { Microphone } from './microphone';
import { type Method, type Params, Signalling, type SignallingOptions } from './signalling';
import { uuidv7 } from './uuid';

export type Connection = 'closed' | 'connecting' | 'open' | 'reconnecting';

type Events = {
  /** Connection, agent, state, calls: anything that a page shows has changed. */
  change: undefined;
  incoming: Call;
  ended: Call;
  /** The session is over and will not come back by itself. */
  closed: TandemError;
  /** A transfer failed; its call is back on the line. */
  transferFailed: Ending;
};

/** A phone: one agent's session with the gateway, and its calls. */
export class Device extends Emitter<Events> implements CallHost {
  connection: Connection = 'closed';
  agent: AgentView | null = null;
  draining = false;
  /** Whether emergency numbers can be dialled here; where not, a page must say so. */
  emergencyCalls = true;
  iceServers: IceServer[] = [];
  readonly microphone = new Microphone();
  readonly #signalling: Signalling;
  readonly #calls = new Map<string, Call>();
  #wanted: AgentState = 'offline';

  constructor(options: SignallingOptions) {
    super();
    this.#signalling = new Signalling(options);
    this.#signalling.on('open', (result) => this.#onOpen(result));
    this.#signalling.on('reconnecting', () => this.#become('reconnecting'));
    this.#signalling.on('notification', (notification) => this.#onNotification(notification));
    this.#signalling.on('closed', (error) => {
      this.#endCalls('connection.lost', () => true);
      this.agent = null;
      this.#become('closed');
      this.emit('closed', error);
    });
  }

  get calls(): Call[] {
    return [...this.#calls.values()];
  }

  register(): void {
    this.#become('connecting');
    this.#signalling.start();
  }

  unregister(): void {
    this.#endCalls('hangup', () => true);
    this.#signalling.stop();
    this.#wanted = 'offline';
    this.agent = null;
    this.#become('closed');
  }

  /** Tries to reconnect at once. */
  nudge(): void {
    this.#signalling.nudge();
  }

  /** Says whether this agent takes calls. Going available asks for the microphone: without it no call could be taken. */
  async setState(state: AgentState): Promise<void> {
    if (state === 'available') await this.microphone.askPermission();
    await this.#signalling.request('agent.set_state', { state });
    this.#wanted = state;
  }

  /** Places a call. */
  async call(number: string): Promise<Call> {
    const call = new Call(uuidv7(), 'outbound', number, null, this);
    this.#add(call);
    await call.dial();
    return call;
  }

  request<M extends Method>(method: M, params: Params<M>): Promise<void> {
    return this.#signalling.request(method, params);
  }

  tell<M extends Method>(method: M, params: Params<M>): void {
    this.#signalling.tell(method, params);
  }

  #become(connection: Connection): void {
    this.connection = connection;
    this.emit('change', undefined);
  }

  #onOpen(result: OpenResult): void {
    this.agent = result.agent;
    this.iceServers = result.ice_servers;
    this.emergencyCalls = result.emergency_calls;
    if (!result.replayed) {
      const known = new Set(result.calls.map((call) => call.call_id));
      // A call that is being dialled right now is sent again, and is not lost.
      this.#endCalls('connection.lost', (call) => !known.has(call.id) && call.state !== 'dialling');
      for (const { call_id, phase, recording, held, held_by_peer } of result.calls) {
        const call = this.#calls.get(call_id);
        if (!call) continue;
        const seq = result.seq;
        call.follow({ method: 'call.recording', params: { seq, call_id, active: recording } });
        call.follow({ method: held ? 'call.held' : 'call.resumed', params: { seq, call_id, by: 'agent' } });
        call.follow({ method: held_by_peer ? 'call.held' : 'call.resumed', params: { seq, call_id, by: 'peer' } });
        if (phase === 'answered') call.follow({ method: 'call.answered', params: { seq, call_id } });
      }
    }
    this.#become('open');
    if (!result.resumed && this.#wanted !== result.agent.state) {
      this.#signalling.request('agent.set_state', { state: this.#wanted }).catch(() => {});
    }
  }

  #onNotification(notification: ServerNotification): void {
    switch (notification.method) {
      case 'call.incoming': {
        const { call_id, from, name, sdp, waiting } = notification.params;
        if (this.#calls.has(call_id)) return;
        const call = new Call(call_id, 'inbound', from, name, this, waiting);
        this.#add(call);
        this.request('call.alerting', { call_id }).catch(() => {});
        call.connect(sdp);
        return this.emit('incoming', call);
      }
      case 'call.reattach': {
        const { call_id, direction, number, name } = notification.params;
        if (this.#calls.has(call_id)) return;
        const call = new Call(call_id, direction, number, name, this);
        this.#add(call);
        return call.reattach(notification.params);
      }
      case 'agent.state':
        // Set by the gateway too: a new session must not undo it.
        this.#wanted = notification.params.state;
        if (this.agent) this.agent = { ...this.agent, state: notification.params.state };
        return this.emit('change', undefined);
      case 'server.draining':
        this.draining = true;
        return this.emit('change', undefined);
      case 'session.replaced':
        return;
      default:
        this.#calls.get(notification.params.call_id)?.follow(notification);
    }
  }

  #add(call: Call): void {
    this.#calls.set(call.id, call);
    call.on('change', () => this.emit('change', undefined));
    call.on('transferFailed', (why) => this.emit('transferFailed', why));
    call.on('ended', () => {
      this.#calls.delete(call.id);
      this.emit('ended', call);
      this.emit('change', undefined);
    });
    this.emit('change', undefined);
  }

  #endCalls(reason: string, which: (call: Call) => boolean): void {
    for (const call of this.calls.filter(which)) call.end({ reason, sipCode: null });
  }
}
