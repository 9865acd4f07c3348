import { ArrowIcon } from './icons';
import { dialled, past } from './store';
import { language, words } from './strings';

const TIME = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' });

/** The calls since the login, newest first: kept in this page alone. */
export function Recent() {
  return (
    <section class="recent" aria-labelledby="recent-title">
      <h2 id="recent-title">{words.recent}</h2>
      {past.value.length === 0 && <p class="hint">{words.noRecent}</p>}
      <ul>
        {past.value.slice(0, 4).map((call) => {
          const who = call.name ?? (call.number || words.unknownCaller);
          return (
            <li key={call.id}>
              <button
                type="button"
                class={call.missed ? 'past missed' : 'past'}
                aria-label={words.callBack(who)}
                disabled={call.number === ''}
                onClick={() => {
                  dialled.value = call.number;
                }}
              >
                <ArrowIcon inbound={call.direction === 'inbound'} />
                <span class="grow">{who}</span>
                <small>
                  {call.missed ? words.missed : call.direction === 'inbound' ? words.inbound : words.outbound}
                </small>
                <time dateTime={new Date(call.at).toISOString()}>{TIME.format(call.at)}</time>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
