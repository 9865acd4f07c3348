import type { HeldBy, IceServer, Quality, ReattachNotice, ServerNotification } from '../generated/signaling';
import { Emitter } from './emitter';
import { TandemError } from './error';
import type { Microphone } from './microphone';
import { countersFrom, QualityMeter, type Sample, type Trouble } from './quality';
import type { Method, Params } from './signalling';

/** Where a call is. `connecting` is accepted, but not yet confirmed by the gateway. */
export type CallState = 'incoming' | 'dialling' | 'ringing' | 'early' | 'connecting' | 'active' | 'ended';

export interface Ending {
  /** A stable word, such as `hangup`, `busy`, `no_answer`. */
  reason: string;
  sipCode: number | null;
}

/** What a call needs of its device. */
export interface CallHost {
  request<M extends Method>(method: M, params: Params<M>): Promise<void>;
  tell<M extends Method>(method: M, params: Params<M>): void;
  readonly microphone: Microphone;
  readonly iceServers: IceServer[];
}

type Events = {
  /** Anything that a page shows has changed. */
  change: undefined;
  ended: Ending;
  /** The call is back on the line; says why. */
  transferFailed: Ending;
};

const REPORT_EVERY = 5;

/** One call, and its peer connection. */
export class Call extends Emitter<Events> {
  state: CallState;
  muted = false;
  recording = false;
  /** We hold it: the other side hears music. */
  held = false;
  heldByPeer = false;
  /** To whom it is being transferred. */
  transferringTo: string | null = null;
  /** When audio began to cross, in milliseconds since 1970. */
  answeredAt: number | null = null;
  sample: Sample | null = null;
  /** How the gateway hears us, where it told. */
  upstream: Quality | null = null;
  troubles: Trouble[] = [];
  ending: Ending | null = null;
  /** The media path is broken and being looked for again. */
  interrupted = false;
  /** Of a call that came back: `asking` while it waits for the microphone, or the code of what is wrong with that. */
  microphoneTrouble: string | null = null;
  /** The browser plays nothing until somebody does something on this page. */
  soundBlocked = false;

  readonly #host: CallHost;
  #peer: RTCPeerConnection | null = null;
  #transceiver: RTCRtpTransceiver | null = null;
  #transport: Promise<void> | null = null;
  #hasMicrophone = false;
  #accepting = false;
  #speaker: HTMLAudioElement | null = null;
  #remote: MediaStream | null = null;
  #meter = new QualityMeter();
  #sampling: ReturnType<typeof setInterval> | undefined;
  #samples = 0;

  constructor(
    readonly id: string,
    readonly direction: 'inbound' | 'outbound',
    public number: string,
    public name: string | null,
    host: CallHost,
    /** It came while another call was there. */
    readonly waiting = false,
  ) {
    super();
    this.#host = host;
    this.state = direction === 'inbound' ? 'incoming' : 'dialling';
  }

  /** Answers the gateway's offer at once, with an audio line that has no track: the path comes up, the microphone does not. */
  connect(offer: string): void {
    this.#transport ??= this.#bringUp(offer);
    // Whoever needs the transport awaits it and hears of the fault; nobody else has to.
    this.#transport.catch(() => {});
  }

  async #bringUp(sdp: string): Promise<void> {
    const peer = new RTCPeerConnection({ iceServers: this.#host.iceServers, bundlePolicy: 'max-bundle' });
    this.#peer = peer;
    peer.ontrack = (event) => {
      this.#remote = event.streams[0] ?? new MediaStream([event.track]);
      this.#play();
    };
    peer.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) {
        this.#host.tell('media.candidate', { call_id: this.id, candidate: candidate.candidate });
      }
    };
    peer.onconnectionstatechange = () => {
      this.interrupted = peer.connectionState === 'disconnected' || peer.connectionState === 'failed';
      this.emit('change', undefined);
    };
    await peer.setRemoteDescription({ type: 'offer', sdp });
    this.#transceiver = peer.getTransceivers().find((one) => one.receiver.track.kind === 'audio') ?? null;
    if (!this.#transceiver) throw new TandemError('transport.failed', 'the gateway offered no audio');
    this.#transceiver.direction = 'sendrecv';
    const answer = await peer.createAnswer();
    await peer.setLocalDescription(answer);
    await this.#host.request('call.transport', { call_id: this.id, sdp: answer.sdp ?? '' });
  }

  /** Goes on with an answered call of this agent's former page. Without a microphone it goes on, too: there is somebody. */
  reattach(line: ReattachNotice): void {
    this.recording = line.recording;
    this.held = line.held_by_agent;
    this.heldByPeer = line.held_by_peer;
    this.answeredAt = Date.now() - line.talked_ms;
    this.microphoneTrouble = 'asking';
    this.#become('active');
    this.connect(line.sdp);
    this.#startSampling();
    void this.#attachAgain();
  }

  async #attachAgain(): Promise<void> {
    try {
      await this.#openMicrophone();
      this.microphoneTrouble = null;
    } catch (error) {
      this.microphoneTrouble = error instanceof TandemError ? error.code : 'failed';
    }
    // The transport that it waited for may have brought sound, and a page that records may play it.
    this.#play();
    this.emit('change', undefined);
  }

  /** Somebody did something on the page: the browser may play now. */
  unlock(): void {
    if (this.soundBlocked) this.#play();
  }

  /** Takes an incoming call. A microphone that cannot be opened fails this alone: the call rings on. */
  async accept(): Promise<void> {
    if (this.state !== 'incoming' || this.#accepting) return;
    this.#accepting = true;
    try {
      await this.#openMicrophone();
      await this.#transport;
      await this.#host.request('call.accept', { call_id: this.id });
      if (this.state === 'incoming') this.#become('connecting');
    } catch (error) {
      this.#closeMicrophone();
      throw error;
    } finally {
      this.#accepting = false;
    }
  }

  /** Places this call; the microphone opens first, so that none is placed without one. */
  async dial(): Promise<void> {
    try {
      this.#hasMicrophone = true;
      await this.#host.microphone.open().catch((error: unknown) => {
        this.#hasMicrophone = false;
        throw error;
      });
      await this.#host.request('call.dial', { call_id: this.id, to: this.number });
    } catch (error) {
      this.end({ reason: error instanceof TandemError ? error.code : 'failed', sipCode: null });
      throw error;
    }
  }

  async #openMicrophone(): Promise<void> {
    if (!this.#hasMicrophone) {
      await this.#host.microphone.open();
      this.#hasMicrophone = true;
    }
    const state: CallState = this.state;
    if (state === 'ended') throw new TandemError('call.ended', 'the call is over');
    // Shared by all calls; muting is each call's own, so each has its own copy.
    await this.#transport;
    await this.#attachTrack();
  }

  async #attachTrack(): Promise<void> {
    const sender = this.#transceiver?.sender;
    if (!sender || sender.track) return;
    const track = (await this.#host.microphone.open()).clone();
    this.#host.microphone.release();
    track.enabled = this.#speaks;
    await sender.replaceTrack(track);
  }

  #closeMicrophone(): void {
    const track = this.#transceiver?.sender.track;
    track?.stop();
    if (this.#transceiver && this.state !== 'ended') void this.#transceiver.sender.replaceTrack(null);
    if (this.#hasMicrophone) this.#host.microphone.release();
    this.#hasMicrophone = false;
  }

  async reject(): Promise<void> {
    await this.#leave('call.reject', 'rejected');
  }

  async hangup(): Promise<void> {
    await this.#leave('call.hangup', 'hangup');
  }

  /** Here it is over at once; the gateway is told, now or when it is reachable again. */
  async #leave(method: 'call.reject' | 'call.hangup', reason: string): Promise<void> {
    if (this.state === 'ended') return;
    this.end({ reason, sipCode: null });
    await this.#host.request(method, { call_id: this.id }).catch(() => {});
  }

  async mute(muted: boolean): Promise<void> {
    const before = this.muted;
    this.muted = muted;
    this.#voice();
    try {
      await this.#host.request('call.mute', { call_id: this.id, muted });
    } catch (error) {
      // Our own track is silent either way; only an unmute that failed is taken back.
      if (!muted) {
        this.muted = before;
        this.#voice();
      }
      throw error;
    }
  }

  get #speaks(): boolean {
    return !this.muted && !this.held;
  }

  /** Opens or closes our own track, as muting and holding want it. */
  #voice(): void {
    const track = this.#transceiver?.sender.track;
    if (track) track.enabled = this.#speaks;
    this.emit('change', undefined);
  }

  /** Puts the other side on hold: they hear music, and nothing of us from this moment on. */
  async hold(): Promise<void> {
    if (this.held) return;
    this.held = true;
    this.#voice();
    try {
      await this.#host.request('call.hold', { call_id: this.id });
    } catch (error) {
      this.held = false;
      this.#voice();
      throw error;
    }
  }

  /** Ends our own hold. We speak once the gateway says that the call is resumed. */
  resume(): Promise<void> {
    return this.held ? this.#host.request('call.resume', { call_id: this.id }) : Promise.resolve();
  }

  /** Hands the other side over to a number. It ends the call, or {@link Events.transferFailed} brings it back. */
  transfer(to: string): Promise<void> {
    return this.#host.request('call.transfer', { call_id: this.id, to });
  }

  /** Joins the other side with that of another call. */
  transferTo(other: Call): Promise<void> {
    return this.#host.request('call.transfer', { call_id: this.id, consult_call: other.id });
  }

  /** Sends `0`–`9`, `*`, `#`, `A`–`D`. */
  sendDigits(digits: string): Promise<void> {
    return this.#host.request('call.dtmf', { call_id: this.id, digits });
  }

  /** Follows a notification about this call. */
  follow(notification: ServerNotification): void {
    switch (notification.method) {
      case 'call.offer':
        this.connect(notification.params.sdp);
        return void this.#attachForDialled();
      case 'call.ringing':
        if (this.state === 'dialling') this.#become('ringing');
        return this.#play();
      case 'call.early_media':
        if (this.state === 'dialling' || this.state === 'ringing') this.#become('early');
        return this.#play();
      case 'call.answered':
        this.answeredAt ??= Date.now();
        this.#become('active');
        this.#play();
        return this.#startSampling();
      case 'call.held':
        return this.#followHold(notification.params.by, true);
      case 'call.resumed':
        return this.#followHold(notification.params.by, false);
      case 'call.transferring':
        this.transferringTo = notification.params.to;
        return this.emit('change', undefined);
      case 'call.transfer_failed':
        this.transferringTo = null;
        this.emit('change', undefined);
        return this.emit('transferFailed', {
          reason: notification.params.reason,
          sipCode: notification.params.sip_code,
        });
      case 'call.party':
        this.number = notification.params.number;
        this.name = notification.params.name;
        return this.emit('change', undefined);
      case 'call.recording':
        this.recording = notification.params.active;
        return this.emit('change', undefined);
      case 'call.quality':
        this.upstream = notification.params.quality;
        return this.emit('change', undefined);
      case 'call.ended':
        return this.end({ reason: notification.params.reason, sipCode: notification.params.sip_code });
    }
  }

  #followHold(by: HeldBy, held: boolean): void {
    if (by === 'agent') this.held = held;
    else this.heldByPeer = held;
    this.#voice();
  }

  async #attachForDialled(): Promise<void> {
    try {
      await this.#transport;
      await this.#attachTrack();
    } catch {
      await this.#leave('call.hangup', 'transport.failed');
    }
  }

  #become(state: CallState): void {
    if (this.state === 'ended') return;
    this.state = state;
    this.emit('change', undefined);
  }

  /** An incoming call is heard after its answer only; of a dialled one the ringing is audio too. */
  #play(): void {
    const mayHear = this.state === 'active' || (this.direction === 'outbound' && this.state !== 'dialling');
    if (!mayHear || !this.#remote || this.state === 'ended') return;
    this.#speaker ??= new Audio();
    if (this.#speaker.srcObject !== this.#remote) this.#speaker.srcObject = this.#remote;
    this.#speaker.play().then(
      () => this.#setSoundBlocked(false),
      (error: unknown) => this.#setSoundBlocked((error as Error | undefined)?.name === 'NotAllowedError'),
    );
  }

  #setSoundBlocked(blocked: boolean): void {
    if (blocked === this.soundBlocked) return;
    this.soundBlocked = blocked;
    this.emit('change', undefined);
  }

  #startSampling(): void {
    this.#sampling ??= setInterval(() => void this.#takeSample(), 1000);
  }

  async #takeSample(): Promise<void> {
    const report = await this.#peer?.getStats().catch(() => null);
    const counters = report && countersFrom(report as unknown as Iterable<readonly [string, unknown]>);
    if (!counters || this.state === 'ended') return;
    this.sample = this.#meter.take(counters);
    this.troubles = this.#meter.troubles;
    if (this.#samples++ % REPORT_EVERY === 0) {
      const { jitterMs, loss, rttMs } = this.sample;
      this.#host.tell('stats.report', { call_id: this.id, jitter_ms: jitterMs, loss, rtt_ms: rttMs });
    }
    this.emit('change', undefined);
  }

  /** Lets go of everything. */
  end(ending: Ending): void {
    if (this.state === 'ended') return;
    clearInterval(this.#sampling);
    this.state = 'ended';
    this.ending = ending;
    this.#closeMicrophone();
    if (this.#speaker) this.#speaker.srcObject = null;
    this.#peer?.close();
    this.emit('change', undefined);
    this.emit('ended', ending);
  }
}
