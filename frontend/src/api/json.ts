/**
 * JSON whose integers stay what they are: beyond 2^53 a browser rounds them, and ids of other systems are such. In what
 * `read` returns, and in all that the API answers, such an integer stands as a text behind a mark; `written` turns it into
 * the integer again. The mark is made anew with each page, so that no text of anybody's begins with it.
 */

const MARK = `integer ${[...crypto.getRandomValues(new Uint32Array(4))].join("-")} `;
const MARKED = new RegExp(`"${MARK}(-?\\d+)"`, "g");
const LONG = /\d{16}/; // at least as many has an integer that is rounded
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

/** The same text, with marks before integers that would be rounded. */
function marked(text: string): string {
  if (!LONG.test(text)) return text;
  return text.replace(TOKEN, (token) =>
    /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${MARK}${token}"` : token,
  );
}

/** As JSON.parse. */
export function read(text: string): unknown {
  const value: unknown = JSON.parse(text);
  return LONG.test(text) ? JSON.parse(marked(text)) : value;
}

/** As JSON.stringify, with indents of two spaces where `indented`. */
export function written(value: unknown, indented = false): string {
  return JSON.stringify(value, null, indented ? 2 : undefined).replace(MARKED, "$1");
}

/** An answer whose body is read as `read` does. */
export function exact(response: Response): Response {
  const text = response.text.bind(response);
  return Object.assign(response, {
    text: async () => marked(await text()),
    json: async () => JSON.parse(marked(await text())),
  });
}
