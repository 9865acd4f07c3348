/** What can go wrong at the login, as the page says it. */
export type LoginFault = 'password' | 'disabled' | 'role' | 'directory' | 'tries' | 'network' | 'server';

export class LoginError extends Error {
  constructor(
    readonly fault: LoginFault,
    /** Seconds after which to try again, where the gateway says so. */
    readonly retryAfterS: number | null = null,
  ) {
    super(fault);
    this.name = 'LoginError';
  }
}

/** By the `code` of the gateway's problem (RFC 9457). */
const FAULTS: Record<string, LoginFault> = {
  'login.refused': 'password',
  'login.disabled': 'disabled',
  'login.no_role': 'role',
  'login.too_many': 'tries',
  'directory.unavailable': 'directory',
};

async function send(method: 'GET' | 'POST', path: string, body?: unknown): Promise<Response> {
  const init: RequestInit = { method, credentials: 'same-origin', cache: 'no-store' };
  if (body !== undefined) {
    init.headers = { 'content-type': 'application/json' };
    init.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, init);
  } catch {
    throw new LoginError('network');
  }
}

/** Logs in; the answer is the first signalling token. The session itself is a cookie that no script sees. */
export async function login(username: string, password: string): Promise<string> {
  const response = await send('POST', '/api/v1/login', { username, password });
  if (!response.ok) {
    const retryAfter = Number(response.headers.get('retry-after'));
    const problem = (await response.json().catch(() => ({}))) as { code?: string };
    throw new LoginError(FAULTS[problem.code ?? ''] ?? 'server', retryAfter > 0 ? retryAfter : null);
  }
  return tokenIn(await response.json());
}

/** A fresh signalling token of the session cookie; `null` where there is no session. */
export async function freshToken(): Promise<string | null> {
  const response = await send('GET', '/api/v1/session');
  if (response.status === 401 || response.status === 403) return null;
  if (!response.ok) throw new LoginError('server');
  return tokenIn(await response.json());
}

export async function logout(): Promise<void> {
  await send('POST', '/api/v1/logout').catch(() => undefined);
}

function tokenIn(body: unknown): string {
  const { signaling_token } = body as { signaling_token?: unknown };
  if (typeof signaling_token !== 'string') throw new LoginError('server');
  return signaling_token;
}
