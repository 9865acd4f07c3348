import { TandemError } from './error';

const CONSTRAINTS: MediaStreamConstraints = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
};

/** The microphone: asked for once, open only while a call has been accepted. */
export class Microphone {
  #stream: MediaStream | null = null;
  #users = 0;

  /** Asks for leave, and closes it at once: the browser remembers the answer. */
  async askPermission(): Promise<void> {
    await this.open();
    this.release();
  }

  /** Opens it, or shares it where it is open. Each call of this wants one {@link release}. */
  async open(): Promise<MediaStreamTrack> {
    this.#users++;
    try {
      const live = this.#stream?.getAudioTracks().find((track) => track.readyState === 'live');
      if (live) return live;
      this.#stream = await openStream();
      const track = this.#stream.getAudioTracks()[0];
      if (!track) throw new TandemError('microphone.missing', 'there is no microphone');
      return track;
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Closes it when nobody needs it any more. */
  release(): void {
    this.#users = Math.max(0, this.#users - 1);
    if (this.#users > 0) return;
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
  }
}

async function openStream(): Promise<MediaStream> {
  if (!globalThis.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
    throw new TandemError('context.insecure', 'browsers open the microphone on HTTPS pages only');
  }
  try {
    return await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
  } catch (error) {
    switch ((error as DOMException).name) {
      case 'NotAllowedError':
      case 'SecurityError':
        throw new TandemError('microphone.denied', 'the microphone was not allowed');
      case 'NotFoundError':
      case 'OverconstrainedError':
        throw new TandemError('microphone.missing', 'there is no microphone');
      default:
        throw new TandemError('microphone.busy', 'the microphone could not be opened', true);
    }
  }
}
