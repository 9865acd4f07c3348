import { useEffect } from 'preact/hooks';
import { DialPad } from './dial_pad';
import { HandsetIcon } from './icons';
import { InCall } from './in_call';
import { Incoming } from './incoming';
import { Login } from './login';
import { OtherLine } from './other_line';
import { Recent } from './recent';
import { StateSelector } from './state_selector';
import { logOut, phone, reconnectNow, stage, takeBack } from './store';
import { words } from './strings';
import { Toast } from './toast';

export function App() {
  if (stage.value === 'checking') return <main class="shell" aria-busy="true" />;
  return stage.value === 'login' ? <Login /> : <Phone />;
}

function Phone() {
  const { agent, current, other, incoming, connection } = phone.value;
  const caller = incoming && (incoming.name ?? incoming.number);
  useEffect(() => {
    document.title = caller ? `☎ ${caller}` : words.title;
  }, [caller]);
  return (
    <main class="shell">
      <div class="card">
        <header class="top">
          <span class="mark">
            <HandsetIcon />
          </span>
          <div class="who">
            <h1>{agent?.name ?? words.title}</h1>
            {agent && <p>{agent.extension ? `${words.extension} ${agent.extension}` : words.noExtension}</p>}
          </div>
          <button type="button" class="quiet" onClick={() => void logOut()}>
            {words.logOut}
          </button>
        </header>
        <Banners />
        <Toast />
        {agent?.extension && (
          <StateSelector state={agent.state} disabled={connection !== 'open'} terse={current !== null} />
        )}
        {other && <OtherLine call={other} current={current} />}
        {current ? (
          <InCall key={current.id} call={current} />
        ) : (
          <DialPad disabled={connection !== 'open' || !agent?.extension} />
        )}
        {!current && <Recent />}
      </div>
      {incoming && <Incoming key={incoming.id} call={incoming} busy={current !== null} />}
    </main>
  );
}

/** What stands in the way, and stays until it is gone. */
function Banners() {
  const { connection, calls, draining, emergencyCalls } = phone.value;
  return (
    <div class="banners" aria-live="polite">
      {!emergencyCalls && (
        <p class="banner bad">
          <strong>{words.noEmergency}</strong> {words.noEmergencyHow}
        </p>
      )}
      {!globalThis.isSecureContext && (
        <p class="banner bad">
          <strong>{words.insecure}</strong> {words.insecureHow}
        </p>
      )}
      {connection === 'connecting' && <p class="banner">{words.connectingServer}</p>}
      {connection === 'reconnecting' && (
        <p class="banner warn">
          <span class="spinner" aria-hidden="true" />
          <span class="grow">{calls > 0 ? words.reconnectingInCall : words.reconnecting}</span>
          <button type="button" onClick={reconnectNow}>
            {words.tryNow}
          </button>
        </p>
      )}
      {connection === 'closed' && (
        <p class="banner warn">
          <span class="grow">{words.closed}</span>
          <button type="button" onClick={takeBack}>
            {words.tryNow}
          </button>
        </p>
      )}
      {draining && <p class="banner warn">{words.draining}</p>}
    </div>
  );
}
