import { useNavigate, useSearch } from "@tanstack/react-router";

/** The page of a list without filters, which stands in the address: the browser's own button goes a page back. */
export interface Paging {
  cursor: string | undefined;
  onCursor: (cursor: string | undefined) => void;
}

export function usePaging(): Paging {
  const { cursor } = useSearch({ strict: false });
  const navigate = useNavigate();
  return { cursor, onCursor: (next) => void navigate({ to: ".", search: next === undefined ? {} : { cursor: next } }) };
}
