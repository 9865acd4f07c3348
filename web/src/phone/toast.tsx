import { notice } from './store';
import { words } from './strings';

export function Toast() {
  const message = notice.value;
  return (
    <div role={message?.kind === 'fault' ? 'alert' : 'status'} class="toast-place">
      {message && (
        <p class={`toast ${message.kind}`}>
          <span class="grow">{message.text}</span>
          <button
            type="button"
            class="close"
            aria-label={words.dismiss}
            onClick={() => {
              notice.value = null;
            }}
          >
            ×
          </button>
        </p>
      )}
    </div>
  );
}
