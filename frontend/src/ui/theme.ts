/** What a canvas, which knows no style sheets, has to ask of the page. */
import { useEffect, useState } from "react";

/** Changes when the page's colours do. */
export function useTheme(): string {
  const [theme, setTheme] = useState(themeNow);
  useEffect(() => {
    const look = () => setTheme(themeNow());
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const chosen = new MutationObserver(look);
    dark.addEventListener("change", look);
    chosen.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      dark.removeEventListener("change", look);
      chosen.disconnect();
    };
  }, []);
  return theme;
}

function themeNow(): string {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return `${document.documentElement.dataset.theme ?? "system"} ${dark}`;
}

/** The colour of a token of the theme, such as "muted", where it is used. */
export function colourOf(place: Element, token: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${token})`;
  place.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** The time of day at a moment in seconds since 1970: "14:05". */
export function clock(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}
