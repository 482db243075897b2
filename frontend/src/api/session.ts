/** In milliseconds; the answer that brings a new session comes about when that to a request beside it does. */
const NEW_SESSION = 250;

/**
 * As fetch. Whose password is changed, in this tab or another, gets a new session: what was on its way with the old one
 * is sent once more before one is taken for logged out. It did nothing the first time.
 */
export async function inSession(request: Request): Promise<Response> {
  const answer = await fetch(request.clone());
  // A wrong password is a 401, too, and a guess that was counted.
  if (!answer.headers.get("WWW-Authenticate")?.includes("invalid_token")) return answer;
  await new Promise((done) => setTimeout(done, NEW_SESSION));
  return fetch(request);
}
