import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Call } from '../voice/call';
import { cleanNumber } from './format';
import { Keys } from './keys';
import { consult, transfer } from './store';
import { words } from './strings';

/** To whom the call goes: at once, or after asking. */
export function Transfer({ call, mayConsult, onDone }: { call: Call; mayConsult: boolean; onDone: () => void }) {
  const number = useSignal('');
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const set = (text: string) => {
    number.value = cleanNumber(text);
  };
  const go = async (how: () => Promise<boolean>) => {
    if (number.value !== '' && (await how())) onDone();
  };
  return (
    <form
      class="transfer"
      aria-label={words.transfer}
      // Its keys are for the number, and not for the call around it.
      onKeyDown={(event) => event.stopPropagation()}
      onSubmit={(event) => {
        event.preventDefault();
        void go(() => transfer(call, number.value));
      }}
    >
      <input
        ref={field}
        type="tel"
        inputMode="tel"
        autocomplete="off"
        aria-label={words.transferTo}
        placeholder={words.transferTo}
        value={number.value}
        onInput={(event) => set(event.currentTarget.value)}
      />
      <Keys label={words.dialPad} onKey={(key) => set(number.value + key)} />
      <div class="choices">
        <button
          type="button"
          class="primary"
          disabled={number.value === '' || !mayConsult}
          onClick={() => void go(() => consult(number.value))}
        >
          {words.askFirst}
        </button>
        <button type="submit" class="go" disabled={number.value === ''}>
          {words.transferNow}
        </button>
      </div>
    </form>
  );
}
