import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { fileURLToPath } from 'node:url';
import { fromMuLaw, type Sound, toMuLaw } from './audio';

/** Where the gateway under test listens; the trunk's target is port 5070 of it. */
export const ADDRESS = process.env.TANDEM_E2E_ADDRESS ?? '127.0.0.71';

const SCENARIOS = fileURLToPath(new URL('./sip/', import.meta.url));
const FRAME = 160;
const TELEPHONE_EVENT = 101;

interface Packet {
  at: number;
  type: number;
  timestamp: number;
  payload: Buffer;
}

/** The SIP side's sound: RTP of G.711 (RFC 3551), every packet noted with the time of this process's clock. */
export class SipSound {
  readonly packets: Packet[] = [];
  /** When each packet of {@link play} left. */
  readonly sent: number[] = [];
  readonly port: number;
  readonly #socket: Socket;
  #peer: RemoteInfo | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #sequence = 0;
  #reflect = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.port = socket.address().port;
    socket.on('message', (bytes, from) => this.#take(bytes, from));
  }

  static open(): Promise<SipSound> {
    return new Promise((resolve, reject) => {
      const socket = createSocket('udp4');
      socket.once('error', reject);
      socket.bind(0, ADDRESS, () => resolve(new SipSound(socket)));
    });
  }

  #take(bytes: Buffer, from: RemoteInfo): void {
    const type = (bytes[1] ?? 0) & 0x7f;
    if (bytes.length < 12 || bytes[0] !== 0x80 || (type >= 64 && type < 96)) return;
    this.#peer = from;
    const payload = Buffer.from(bytes.subarray(12));
    this.packets.push({ at: performance.now(), type, timestamp: bytes.readUInt32BE(4), payload });
    if (this.#reflect && type === 0) this.#send(payload, bytes.readUInt32BE(4));
  }

  #send(payload: Buffer, timestamp: number): void {
    if (!this.#peer) return;
    const header = Buffer.alloc(12);
    header[0] = 0x80;
    header.writeUInt16BE(this.#sequence++ & 0xffff, 2);
    header.writeUInt32BE(timestamp >>> 0, 4);
    header.writeUInt32BE(0x7a11_0001, 8);
    this.#socket.send(Buffer.concat([header, payload]), this.#peer.port, this.#peer.address);
  }

  /** Sends back what comes, packet for packet. */
  reflect(): void {
    this.#reflect = true;
  }

  /** Plays for as long as the call lasts, from now on, to where the gateway sends from. */
  play(sample: (n: number, rate: number) => number): void {
    const begun = performance.now();
    this.#timer = setInterval(() => {
      while (this.sent.length * 20 <= performance.now() - begun) {
        const first = this.sent.length * FRAME;
        const payload = Buffer.from(Array.from({ length: FRAME }, (_, i) => toMuLaw(sample(first + i, 8000))));
        this.#send(payload, first);
        this.sent.push(performance.now());
      }
    }, 2);
  }

  /** The time of the first sample played; the median over all packets, so that one late timer does not count. */
  playedFrom(): number {
    return middle(this.sent.map((at, n) => at - n * 20));
  }

  /** What came, on its own RTP clock, and the time of its first sample. */
  heard(): { sound: Sound; from: number } {
    const audio = this.packets.filter((packet) => packet.type === 0);
    const base = audio[0]?.timestamp ?? 0;
    const place = (packet: Packet) => (packet.timestamp - base) | 0;
    const last = audio.at(-1);
    const samples = new Float32Array(last ? place(last) + last.payload.length : 0);
    for (const packet of audio) {
      for (const [i, byte] of packet.payload.entries()) samples[place(packet) + i] = fromMuLaw(byte);
    }
    return { sound: { rate: 8000, samples }, from: middle(audio.map((packet) => packet.at - place(packet) / 8)) };
  }

  /** What came from this time on. */
  heardSince(time: number): Sound {
    const { sound, from } = this.heard();
    return { rate: sound.rate, samples: sound.samples.slice(Math.max(0, Math.round((time - from) * 8))) };
  }

  /** The digits that came as telephone events (RFC 4733): one per event, told by its timestamp, once its end was seen. */
  digits(): string {
    const events = new Map<number, string>();
    for (const { type, timestamp, payload } of this.packets) {
      if (type !== TELEPHONE_EVENT || ((payload[1] ?? 0) & 0x80) === 0) continue;
      events.set(timestamp, '0123456789*#ABCD'[payload[0] ?? 99] ?? '?');
    }
    return [...events.values()].join('');
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.close();
  }
}

const middle = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

/** One run of SIPp. */
export class Sipp {
  #output = '';
  readonly #child: ChildProcess;
  /** Settles when it ended; an error unless the call went as the scenario says. */
  readonly finished: Promise<void>;

  /** A call to an extension, or, with the trunk's port as `port`, one that waits to be called. */
  constructor(scenario: string, sound: SipSound, { extension, port }: { extension?: string; port: number }) {
    const target = extension ? ['-s', extension, `${ADDRESS}:5060`] : [];
    const local = ['-i', ADDRESS, '-p', String(port), '-key', 'rtp_port', String(sound.port)];
    const bounds = ['-m', '1', '-nostdin', '-timeout', '70', '-timeout_error'];
    this.#child = spawn('sipp', ['-sf', `${SCENARIOS}${scenario}.xml`, ...local, ...bounds, ...target]);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (data) => {
        this.#output = (this.#output + String(data)).slice(-4000);
      });
    }
    this.finished = new Promise((resolve, reject) => {
      this.#child.once('error', (error) => reject(new Error(`cannot run sipp (Debian package sip-tester): ${error}`)));
      this.#child.once('close', (code) => {
        if (code === 0) resolve();
        else reject(new Error(`${scenario}: sipp ended with ${code}\n${this.#output}`));
      });
    });
    this.finished.catch(() => {});
  }

  /** Ends it, whatever it does. */
  end(): void {
    this.#child.kill('SIGKILL');
  }
}
