import type { AgentState } from '../generated/signaling';
import { chooseState } from './store';
import { words } from './strings';

const STATES: AgentState[] = ['available', 'busy', 'wrap_up', 'offline'];
const HINTS: Record<AgentState, string> = {
  available: words.hintAvailable,
  busy: words.hintBusy,
  wrap_up: words.hintWrap_up,
  offline: words.hintOffline,
};

export function StateSelector({ state, disabled }: { state: AgentState; disabled: boolean }) {
  return (
    <fieldset class="states" disabled={disabled}>
      <legend class="visually-hidden">{words.state}</legend>
      <div class="segments">
        {STATES.map((one) => (
          <label key={one} class={`segment ${one}`}>
            <input
              type="radio"
              name="state"
              value={one}
              checked={state === one}
              onChange={(event) => {
                // The gateway's word counts: until then the old state stays chosen.
                event.currentTarget.checked = state === one;
                void chooseState(one);
              }}
            />
            <span>
              <i aria-hidden="true" />
              {words[one]}
            </span>
          </label>
        ))}
      </div>
      <p class="hint">{HINTS[state]}</p>
    </fieldset>
  );
}
