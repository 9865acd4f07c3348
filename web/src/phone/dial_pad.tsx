import { useRef } from 'preact/hooks';
import { cleanNumber } from './format';
import { BackspaceIcon, HandsetIcon } from './icons';
import { Keys } from './keys';
import { dialled, place } from './store';
import { words } from './strings';

export function DialPad({ disabled }: { disabled: boolean }) {
  const field = useRef<HTMLInputElement>(null);
  const set = (number: string) => {
    dialled.value = cleanNumber(number);
  };
  return (
    <form
      class="dial"
      onSubmit={(event) => {
        event.preventDefault();
        if (!disabled) void place(dialled.value);
      }}
    >
      <div class="number">
        <input
          ref={field}
          type="tel"
          inputMode="tel"
          autocomplete="off"
          aria-label={words.number}
          placeholder={words.numberPlaceholder}
          value={dialled.value}
          disabled={disabled}
          onInput={(event) => set(event.currentTarget.value)}
        />
        <button
          type="button"
          class="quiet round"
          aria-label={words.backspace}
          disabled={disabled || dialled.value === ''}
          onClick={() => {
            set(dialled.value.slice(0, -1));
            field.current?.focus();
          }}
        >
          <BackspaceIcon />
        </button>
      </div>
      <Keys label={words.dialPad} disabled={disabled} onKey={(key) => set(dialled.value + key)} />
      <button type="submit" class="go" disabled={disabled || dialled.value === ''}>
        <HandsetIcon />
        {words.call}
      </button>
    </form>
  );
}
