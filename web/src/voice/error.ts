/** Codes that the client makes itself; the gateway's own dotted codes pass through as they are. */
export type ClientErrorCode =
  | 'microphone.denied'
  | 'microphone.missing'
  | 'microphone.busy'
  | 'context.insecure'
  | 'connection.lost'
  | 'session.unauthenticated'
  | 'session.replaced'
  | 'session.forbidden'
  | 'client.outdated'
  | 'call.ended'
  | 'transport.failed';

/** What went wrong, with a stable code. */
export class TandemError extends Error {
  constructor(
    readonly code: ClientErrorCode | (string & {}),
    message: string,
    readonly retryable = false,
  ) {
    super(message);
    this.name = 'TandemError';
  }
}

/** The code of any error. */
export function codeOf(error: unknown): string {
  return error instanceof TandemError ? error.code : 'unknown';
}
