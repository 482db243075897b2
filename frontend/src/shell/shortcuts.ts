import { useNavigate } from "@tanstack/react-router";
import { useEffect, useEffectEvent, useRef } from "react";
import type { Entry } from "./menu";

const PAIR = 1_000; // milliseconds between "g" and the key that says where to

/**
 * Keys that work on each screen: Ctrl or Cmd K and "/" open the palette, "g" and a key go to a screen, Escape closes
 * the menu.
 */
export function useShortcuts(
  entries: readonly Entry[],
  organization: string | null,
  openPalette: () => void,
  closeMenu: () => void,
): void {
  const navigate = useNavigate();
  const since = useRef(Number.NEGATIVE_INFINITY); // when "g" was pressed; the page may be drawn anew before the next key
  const onKey = useEffectEvent((event: KeyboardEvent) => {
    if (event.key.toLowerCase() === "k" && (event.metaKey || event.ctrlKey)) {
      event.preventDefault();
      openPalette();
      return;
    }
    const target = event.target as Element;
    if (
      event.metaKey ||
      event.ctrlKey ||
      event.altKey ||
      target.closest("input, textarea, select, [contenteditable], dialog")
    )
      return;
    if (event.key === "Escape") closeMenu();
    else if (event.key === "/") {
      event.preventDefault();
      openPalette();
    } else if (event.key === "g") since.current = event.timeStamp;
    else if (event.timeStamp - since.current < PAIR) {
      since.current = Number.NEGATIVE_INFINITY;
      const entry = entries.find((one) => one.key === event.key);
      if (entry) void navigate({ to: entry.to, params: { organization: organization ?? "" } });
    }
  });
  useEffect(() => {
    const listener = (event: KeyboardEvent) => onKey(event);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
}
