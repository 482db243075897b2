/** An error of the API (RFC 9457): `detail` is a sentence for whoever reads it. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    readonly detail: string,
    /** In seconds; null: nobody said. */
    readonly retryAfter: number | null = null,
    /** What kinds of problems have beside that, such as `existing_id`. */
    readonly more: Readonly<Record<string, unknown>> = {},
  ) {
    super(detail);
    this.name = "Problem";
  }

  /** Whether the same request may well succeed a little later. */
  get isPassing(): boolean {
    return (
      this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503 || this.status === 504
    );
  }
}

export const UNREACHABLE = new Problem(0, "unreachable", "The server does not answer; try again.");

/** The problem that an answer tells of, whatever its body is. */
export function problemOf(response: Response, body: unknown): Problem {
  const given = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const detail =
    typeof given.detail === "string" ? given.detail : `The server answered with ${response.status}; try again.`;
  const type = typeof given.type === "string" ? given.type : "about:blank";
  const wait = Number(response.headers.get("Retry-After") ?? Number.NaN);
  return new Problem(response.status, type, detail, Number.isFinite(wait) ? wait : null, given);
}

/** Whether the server gave no answer, which a proxy before it may have said in its place. */
export function isUnanswered(error: unknown): boolean {
  if (!(error instanceof Problem)) return false;
  // The server's own problems have a type.
  return error === UNREACHABLE || ([502, 503, 504].includes(error.status) && error.type === "about:blank");
}

/** Whether one asked too often, and is let in again after a wait. */
export function tooMany(error: unknown): error is Problem {
  return error instanceof Problem && error.type.endsWith(":too-many-requests");
}

/** How often a query is tried again, as far as that may help: for ever where it only has to wait its turn. */
export function retries(failures: number, error: unknown): boolean {
  return tooMany(error) || (error instanceof Problem && error.isPassing && failures < 3);
}

/** How long to wait before that, in milliseconds: as long as the server says, else a little longer each time. */
export function retryDelay(failures: number, error: unknown): number {
  const told = error instanceof Problem ? error.retryAfter : null;
  return told !== null ? Math.min(told, 60) * 1000 : Math.min(1000 * 2 ** failures, 15_000);
}
