import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Call } from '../voice/call';
import { clockTime } from './format';
import { HandsetIcon } from './icons';
import { accept, notice, now, reject, ringerAudible } from './store';
import { words } from './strings';

/** Keys that were meant for something else still come this long after the dialog. */
const TYPING_MS = 600;

export function Incoming({ call, busy }: { call: Call; busy: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const accepting = useSignal(false);
  const since = useRef(Date.now());
  useEffect(() => {
    dialog.current?.showModal();
    // Not on a button: who is typing when it rings must not take or refuse the call by it.
    dialog.current?.focus();
  }, []);

  const take = async () => {
    if (accepting.value) return;
    accepting.value = true;
    await accept(call);
    accepting.value = false;
  };

  const fault = notice.value?.kind === 'fault' ? notice.value.text : null;
  return (
    <dialog
      ref={dialog}
      role="alertdialog"
      aria-labelledby="incoming-title"
      aria-describedby="incoming-who"
      class="incoming"
      tabIndex={-1}
      // Escape would only hide it, and the call would ring on unseen.
      onCancel={(event) => event.preventDefault()}
      onClose={() => dialog.current?.showModal()}
      onKeyDown={(event) => {
        if (event.key === 'Escape') event.preventDefault();
        const tooSoon = Date.now() - since.current < TYPING_MS;
        if (tooSoon || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
        if (event.key === 'a' || event.key === 'A') void take();
        if (event.key === 'r' || event.key === 'R') void reject(call);
      }}
    >
      <p id="incoming-title" class="over">
        {call.waiting ? words.secondCall : words.incoming}
      </p>
      <span class="avatar ringing" aria-hidden="true">
        <span>{initials(call)}</span>
      </span>
      <div id="incoming-who">
        <p class="name">{call.name ?? (call.number || words.unknownCaller)}</p>
        {call.name && <p class="sub">{call.number}</p>}
      </div>
      <p class="timer" role="timer" aria-live="off">
        {words.ringingFor(clockTime(now.value - since.current))}
      </p>
      {fault && (
        <p class="banner bad" role="alert">
          {fault}
        </p>
      )}
      {!ringerAudible.value && <p class="banner warn">{words.silentRinger}</p>}
      <div class="choices">
        <button type="button" class="stop" onClick={() => void reject(call)}>
          <HandsetIcon down />
          {words.reject}
        </button>
        <button type="button" class="go" aria-disabled={accepting.value} onClick={() => void take()}>
          <HandsetIcon />
          {accepting.value ? words.accepting : busy ? words.holdAndAccept : words.accept}
        </button>
      </div>
      <p class="hint">{words.keysIncoming}</p>
    </dialog>
  );
}

/** Up to two letters of the caller's name, or nothing to say. */
export function initials(call: { name: string | null }): string {
  const parts = (call.name ?? '').split(/\s+/).filter(Boolean);
  const letters = [parts[0], parts.length > 1 ? parts.at(-1) : undefined].map((part) =>
    part ? ([...part][0] ?? '') : '',
  );
  return letters.join('').toUpperCase() || '☎';
}
