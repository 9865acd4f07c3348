import { useSignal } from '@preact/signals';
import type { TargetedSubmitEvent } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { LoginError } from './api';
import { HandsetIcon } from './icons';
import { logIn } from './store';
import { words } from './strings';
import { Toast } from './toast';

export function Login() {
  const busy = useSignal(false);
  const fault = useSignal<string | null>(null);
  const user = useRef<HTMLInputElement>(null);
  const password = useRef<HTMLInputElement>(null);
  useEffect(() => user.current?.focus(), []);

  const submit = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    fault.value = null;
    try {
      await logIn(user.current?.value.trim() ?? '', password.current?.value ?? '');
    } catch (error) {
      fault.value = faultText(error);
      busy.value = false;
      password.current?.select();
    }
  };

  return (
    <main class="shell">
      <form class="card login" onSubmit={(event) => void submit(event)}>
        <span class="mark big">
          <HandsetIcon />
        </span>
        <h1>{words.title}</h1>
        <Toast />
        {!globalThis.isSecureContext && (
          <p class="banner bad">
            <strong>{words.insecure}</strong> {words.insecureHow}
          </p>
        )}
        <label>
          {words.user}
          <input ref={user} name="username" autocomplete="username" autocapitalize="none" spellcheck={false} required />
        </label>
        <label>
          {words.password}
          <input
            ref={password}
            name="password"
            type="password"
            autocomplete="current-password"
            required
            aria-describedby="login-fault"
            aria-invalid={fault.value !== null}
          />
        </label>
        <p id="login-fault" role="alert" class="fault-text">
          {fault.value}
        </p>
        <button type="submit" class="primary" aria-disabled={busy.value}>
          {busy.value ? words.loggingIn : words.logIn}
        </button>
      </form>
    </main>
  );
}

function faultText(error: unknown): string {
  if (!(error instanceof LoginError)) return words.faultServer;
  switch (error.fault) {
    case 'password':
      return words.faultPassword;
    case 'disabled':
      return words.faultDisabled;
    case 'role':
      return words.faultRole;
    case 'directory':
      return words.faultDirectory;
    case 'tries':
      return error.retryAfterS
        ? words.faultTriesIn(words.minutes(Math.ceil(error.retryAfterS / 60)))
        : words.faultTries;
    case 'network':
      return words.faultNetwork;
    case 'server':
      return words.faultServer;
  }
}
