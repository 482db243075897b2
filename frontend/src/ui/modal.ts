import { type MouseEvent, type PointerEvent, useEffect, useRef } from "react";

/**
 * What makes a <dialog> a modal one while `open`. The browser keeps the focus in it; then it is where it was before, or
 * where that is gone, in the page. Escape closes it, and a click beside it; one that `stays` is closed by nothing but
 * its buttons.
 */
export function useModal(open: boolean, onClose: () => void, stays = false) {
  const ref = useRef<HTMLDialogElement>(null);
  const isPressedBeside = useRef(false);
  useEffect(() => {
    if (!open) return;
    const before = document.activeElement;
    if (ref.current && !ref.current.open) ref.current.showModal();
    // A browser puts the focus back when a dialog closes, but not when it is taken out of the page.
    return () => {
      if (document.activeElement !== document.body) return;
      const place = before instanceof HTMLElement && before.isConnected ? before : document.querySelector("main");
      place?.focus();
    };
  }, [open]);
  return {
    ref,
    // A browser may close it by a second Escape, whatever it was told of the first.
    onClose: () => (stays ? ref.current?.showModal() : onClose()),
    // Who marks text in it may let go beside it; the click is the dialog's then, too.
    onPointerDown: (event: PointerEvent) => {
      isPressedBeside.current = event.target === ref.current;
    },
    onClick: (event: MouseEvent) => {
      if (!stays && isPressedBeside.current && event.target === ref.current) onClose();
    },
    onCancel: (event: { preventDefault: () => void }) => stays && event.preventDefault(),
  };
}
