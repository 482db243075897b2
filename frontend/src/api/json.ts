/**
 * JSON whose numbers stay what they are: a browser rounds integers beyond 2^53, as ids of other systems are, and amounts
 * of more than some 17 digits. In what `read` returns, and in all that the API answers, such a number stands as a text
 * behind a mark; `written` turns it into the number again. The mark is made anew with each page, so that no text of
 * anybody's begins with it.
 */

const MARK = `number ${[...crypto.getRandomValues(new Uint32Array(4))].join("-")} `;
const MARKED = new RegExp(`"${MARK}([-+.eE\\d]+)"`, "g");
const LONG = /[\d.]{16}|[eE][-+]?\d{3}/; // one of them has each number that is rounded
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

/** The same text, with marks before integers that would be rounded. */
function marked(text: string): string {
  if (!LONG.test(text)) return text;
  return text.replace(TOKEN, (token) => (token.startsWith('"') || isKept(token) ? token : `"${MARK}${token}"`));
}

function isKept(token: string): boolean {
  if (/^-?\d+$/.test(token)) return Number.isSafeInteger(Number(token));
  return normal(token) === normal(String(Number(token)));
}

/** One text for each value of a number, whatever its zeros and its exponent. */
function normal(number: string): string {
  const [, sign, whole = "", fraction = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(number) ?? [];
  const digits = (whole + fraction).replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  return significant
    ? `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`
    : "0";
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
