import { expect, type Page, test as plain } from '@playwright/test';
import type { Sound } from './audio';
import { ADDRESS, Sipp, SipSound } from './sip';

/** The number that calls. */
export const CALLER = '4930123456';
const TRUNK_PORT = 5070;
const CALLER_PORT = 5080;

type Fixtures = {
  sound: SipSound;
  /** Lets the PBX call alice. */
  ring: (scenario?: string) => Sipp;
  /** Lets the PBX wait for a call. */
  await: () => Promise<Sipp>;
};

/** Tests with a PBX; what it started ends with the test. The page's own faults fail it. */
export const test = plain.extend<Fixtures>({
  page: async ({ page }, use) => {
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push(String(error)));
    page.on('console', (message) => {
      if (/Content Security Policy|Trusted/.test(message.text())) faults.push(message.text());
    });
    await page.addInitScript(listen);
    await use(page);
    expect(faults).toEqual([]);
  },
  // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the fixtures' names from the pattern.
  sound: async ({}, use) => {
    const sound = await SipSound.open();
    await use(sound);
    sound.close();
  },
  ring: async ({ sound }, use) => {
    const all: Sipp[] = [];
    await use((scenario = 'uac') => {
      const call = new Sipp(scenario, sound, { extension: '1001', port: CALLER_PORT });
      all.push(call);
      return call;
    });
    for (const call of all) call.end();
  },
  await: async ({ sound }, use) => {
    const all: Sipp[] = [];
    await use(async () => {
      const call = new Sipp('uas', sound, { port: TRUNK_PORT });
      all.push(call);
      return call;
    });
    for (const call of all) call.end();
  },
});

interface Ears {
  rate: number;
  chunks: Float32Array[];
  peers: RTCPeerConnection[];
  speakers: HTMLAudioElement[];
  microphones: MediaStreamTrack[];
}

declare global {
  interface Window {
    ears: Ears;
    /** Opus packets that the page sent, by {@link countBandwidths}. */
    bandwidths: { narrow: number; wider: number };
  }
}

interface EncodedStreams {
  readable: ReadableStream<RTCEncodedAudioFrame>;
  writable: WritableStream<RTCEncodedAudioFrame>;
}

/** Runs in the page before its own scripts: counts the Opus packets it sends, by the bandwidth in their first byte (RFC 6716 3.1). */
export function countBandwidths(): void {
  const counts = { narrow: 0, wider: 0 };
  window.bandwidths = counts;
  const count = (frame: RTCEncodedAudioFrame) => {
    const configuration = new DataView(frame.data).getUint8(0) >> 3;
    const isNarrow = configuration < 4 || (configuration >= 16 && configuration < 20);
    if (isNarrow) counts.narrow += 1;
    else counts.wider += 1;
  };
  const Peer = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Peer {
    readonly #counted = new Set<RTCRtpSender>();

    constructor(configuration?: RTCConfiguration) {
      super({ ...configuration, encodedInsertableStreams: true } as RTCConfiguration);
    }

    override async setLocalDescription(description?: RTCLocalSessionDescriptionInit): Promise<void> {
      for (const sender of this.getSenders().filter((sender) => !this.#counted.has(sender))) {
        this.#counted.add(sender);
        const streams = (sender as unknown as { createEncodedStreams(): EncodedStreams }).createEncodedStreams();
        const counting = new TransformStream<RTCEncodedAudioFrame, RTCEncodedAudioFrame>({
          transform(frame, controller) {
            count(frame);
            controller.enqueue(frame);
          },
        });
        void streams.readable.pipeThrough(counting).pipeTo(streams.writable);
      }
      await super.setLocalDescription(description);
    }
  };
}

/** Runs in the page before its own scripts: keeps what its peer connections bring, and every microphone it opens. */
function listen(): void {
  const ears: Ears = { rate: 0, chunks: [], peers: [], speakers: [], microphones: [] };
  window.ears = ears;
  const Peer = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Peer {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      ears.peers.push(this);
      this.addEventListener('track', ({ track }) => {
        const context = new AudioContext();
        ears.rate = context.sampleRate;
        const tap = context.createScriptProcessor(4096, 1, 1);
        tap.onaudioprocess = ({ inputBuffer }) => ears.chunks.push(inputBuffer.getChannelData(0).slice());
        context
          .createMediaStreamSource(new MediaStream([track]))
          .connect(tap)
          .connect(context.destination);
      });
    }
  };
  const Speaker = window.Audio;
  window.Audio = class extends Speaker {
    constructor(source?: string) {
      super(source);
      ears.speakers.push(this);
    }
  };
  const open = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
  if (!open) return;
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const stream = await open(constraints);
    ears.microphones.push(...stream.getAudioTracks());
    return stream;
  };
}

/** How often the page opened the microphone so far, and how many of these are open now. */
export function microphones(page: Page): Promise<{ opened: number; live: number }> {
  return page.evaluate(() => ({
    opened: window.ears.microphones.length,
    live: window.ears.microphones.filter((track) => track.readyState === 'live').length,
  }));
}

/** What came out of the page's peer connection in the last `seconds`. */
export async function heardInPage(page: Page, seconds: number): Promise<Sound> {
  const { rate, text } = await page.evaluate((seconds) => {
    const { rate, chunks } = window.ears;
    const recent = chunks.slice(-Math.ceil((seconds * rate) / 4096));
    let text = '';
    for (const chunk of recent) for (const x of chunk) text += String.fromCharCode(Math.round(x * 32767) & 0xffff);
    return { rate, text };
  }, seconds);
  const samples = Float32Array.from({ length: text.length }, (_, i) => ((text.charCodeAt(i) << 16) >> 16) / 32767);
  return { rate, samples };
}

/** Whether every loudspeaker of the page with something to play plays. */
export function speakersPlay(page: Page): Promise<boolean> {
  return page.evaluate(() => {
    const busy = window.ears.speakers.filter((one) => one.srcObject !== null);
    return busy.length > 0 && busy.every((one) => !one.paused);
  });
}

/** The page's own figures of its audio: the codec's parameters and what was sent. */
export function sentByPage(page: Page): Promise<Record<string, unknown>> {
  return page.evaluate(async () => {
    const report = (await window.ears.peers.at(-1)?.getStats()) as unknown as Map<string, Record<string, unknown>>;
    const out = [...report.values()].find((one) => one.type === 'outbound-rtp') ?? {};
    const codec = report.get(String(out.codecId)) ?? {};
    const { packetsSent, bytesSent, targetBitrate } = out;
    return { mimeType: codec.mimeType, sdpFmtpLine: codec.sdpFmtpLine, packetsSent, bytesSent, targetBitrate };
  });
}

export async function logIn(page: Page): Promise<void> {
  await page.goto('/phone');
  await page.getByLabel('User name').fill('alice');
  await page.getByLabel('Password').fill('alice-demo');
  await page.getByRole('button', { name: 'Log in' }).click();
  await expect(page.getByText('Extension 1001')).toBeVisible();
  await page.getByLabel('Available').check();
  await expect(page.getByText('Calls ring here.')).toBeVisible();
}

/** A compliance officer at the gateway's interface. */
export class Officer {
  readonly #headers: Record<string, string>;

  private constructor(headers: Record<string, string>) {
    this.#headers = headers;
  }

  static async logIn(): Promise<Officer> {
    const headers = { 'content-type': 'application/json', origin: `http://${ADDRESS}:8080` };
    const body = JSON.stringify({ username: 'carol', password: 'carol-demo' });
    const answer = await fetch(`http://${ADDRESS}:8080/api/v1/login`, { method: 'POST', headers, body });
    expect(answer.status, await answer.text()).toBe(200);
    const cookie = answer.headers.getSetCookie().map((line) => line.split(';')[0]);
    return new Officer({ cookie: cookie.join('; ') });
  }

  #fetch(path: string): Promise<Response> {
    return fetch(`http://${ADDRESS}:8080/api/v1/recordings${path}`, { headers: this.#headers });
  }

  /** Alice's recordings that began at `since` or later, newest first. */
  async recordings(since: Date): Promise<Record<string, unknown>[]> {
    const answer = await this.#fetch(`?agent=1001&from=${encodeURIComponent(since.toISOString())}`);
    expect(answer.status).toBe(200);
    return (await answer.json()).items;
  }

  async audio(id: unknown): Promise<Buffer> {
    const answer = await this.#fetch(`/${id}/audio`);
    expect(answer.status).toBe(200);
    return Buffer.from(await answer.arrayBuffer());
  }
}
