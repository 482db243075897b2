import { type MouseEvent, type PointerEvent, useEffect, useRef } from "react";

/**
 * What makes a <dialog> a modal one while `open`. The browser keeps the focus in it, and puts it back. Escape closes it,
 * and a click beside it; one that `stays` is closed by nothing but its buttons.
 */
export function useModal(open: boolean, onClose: () => void, stays = false) {
  const ref = useRef<HTMLDialogElement>(null);
  const isPressedBeside = useRef(false);
  useEffect(() => {
    if (open && ref.current && !ref.current.open) ref.current.showModal();
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
