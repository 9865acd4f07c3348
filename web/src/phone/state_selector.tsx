import { useSignal } from '@preact/signals';
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

export function StateSelector({ state, disabled, terse }: { state: AgentState; disabled: boolean; terse: boolean }) {
  // What was clicked shows at once; the gateway's word counts in the end.
  const chosen = useSignal<AgentState | null>(null);
  const choose = async (one: AgentState) => {
    chosen.value = one;
    await chooseState(one);
    if (chosen.value === one) chosen.value = null;
  };
  const shown = chosen.value ?? state;
  return (
    <fieldset class="states" disabled={disabled}>
      <legend class="visually-hidden">{words.state}</legend>
      <div class="segments">
        {STATES.map((one) => (
          <label key={one} class={`segment ${one}`}>
            <input type="radio" name="state" value={one} checked={shown === one} onChange={() => void choose(one)} />
            <span>
              <i aria-hidden="true" />
              {words[one]}
            </span>
          </label>
        ))}
      </div>
      {!terse && <p class="hint">{HINTS[state]}</p>}
    </fieldset>
  );
}
