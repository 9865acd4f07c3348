import type { Call } from '../voice/call';
import { SwapIcon } from './icons';
import { connectBoth, talkTo } from './store';
import { words } from './strings';

/** The line that is not talked on. */
export function OtherLine({ call, current }: { call: Call; current: Call | null }) {
  const who = call.name ?? (call.number || words.unknownCaller);
  const bothTalk = call.state === 'active' && current?.state === 'active';
  // Until a transfer is decided, nothing else is done with either line.
  const leaving = call.transferringTo ?? current?.transferringTo ?? null;
  return (
    <section class="other-line" aria-label={words.otherLine(who)}>
      <p class="grow">
        <strong>{who}</strong>
        <small>
          {call.transferringTo !== null
            ? words.transferringTo(call.transferringTo)
            : call.held
              ? words.onHold
              : words[call.state === 'ended' || call.state === 'incoming' ? 'connecting' : call.state]}
        </small>
      </p>
      <button type="button" disabled={call.state !== 'active' || leaving !== null} onClick={() => void talkTo(call)}>
        <SwapIcon />
        {words.swap}
      </button>
      {current && (
        <button type="button" disabled={!bothTalk || leaving !== null} onClick={() => void connectBoth(current, call)}>
          {words.connectBoth}
        </button>
      )}
    </section>
  );
}
