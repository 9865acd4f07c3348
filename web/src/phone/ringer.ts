/** Rings by its own means, and knows when the browser does not let it. */
export class Ringer {
  #context: AudioContext | null = null;
  #pattern: ReturnType<typeof setInterval> | undefined;
  /** Called when it becomes known whether the ringing can be heard. */
  onAudible: (audible: boolean) => void = () => {};

  /** To be called in a click or a key press: from then on the browser lets the page ring. */
  unlock(): void {
    this.#context ??= new AudioContext();
    void this.#context.resume().catch(() => {});
  }

  /** `softly` while the person talks: one low note now and then. */
  start(softly = false): void {
    if (this.#pattern !== undefined && this.#softly === softly) return;
    this.stop();
    this.#softly = softly;
    this.#context ??= new AudioContext();
    const context = this.#context;
    context.onstatechange = () => this.onAudible(context.state === 'running');
    void context.resume().catch(() => {});
    this.onAudible(context.state === 'running');
    this.#ring();
    this.#pattern = setInterval(() => this.#ring(), softly ? 5000 : 3000);
  }

  stop(): void {
    clearInterval(this.#pattern);
    this.#pattern = undefined;
    // Notes already planned are of this context; letting it go silences them at once.
    const context = this.#context;
    if (context) context.onstatechange = null;
    this.#gain?.disconnect();
    this.#gain = null;
  }

  #gain: GainNode | null = null;
  #softly = false;

  /** Two rising pairs of notes, soft at both ends; a single one where it rings softly. */
  #ring(): void {
    const context = this.#context;
    if (context?.state !== 'running') return;
    this.#gain ??= new GainNode(context, { gain: this.#softly ? 0.06 : 0.22 });
    this.#gain.connect(context.destination);
    const notes = this.#softly ? [440] : [587, 784, 587, 784];
    notes.forEach((frequency, index) => {
      const at = context.currentTime + index * 0.22 + (index > 1 ? 0.14 : 0);
      const note = new OscillatorNode(context, { frequency, type: 'triangle' });
      const envelope = new GainNode(context, { gain: 0 });
      envelope.gain.setValueAtTime(0, at);
      envelope.gain.linearRampToValueAtTime(1, at + 0.02);
      envelope.gain.exponentialRampToValueAtTime(0.001, at + 0.2);
      note.connect(envelope).connect(this.#gain as GainNode);
      note.start(at);
      note.stop(at + 0.22);
    });
  }
}
