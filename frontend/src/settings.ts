/** What this browser remembers of its reader: no server knows it. */

export type Theme = "system" | "light" | "dark";
export type Density = "comfortable" | "compact";

const PREFIX = "fairlane.";

/** What is kept under a name; `fallback` where there is nothing, or the browser keeps nothing. */
export function recall<T>(name: string, fallback: T): T {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

export function remember(name: string, value: unknown): void {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing shows things as they are by default.
  }
}

/** Show the page as its reader wants it. */
export function applyAppearance(): void {
  const root = document.documentElement;
  const theme = recall<Theme>("theme", "system");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  else delete root.dataset.theme;
  root.dataset.density = recall<Density>("density", "comfortable");
}
