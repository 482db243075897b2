import { cx } from "../ui";

export function Logo({ large = false }: { large?: boolean }) {
  return (
    <svg aria-hidden="true" viewBox="0 0 32 32" className={cx("shrink-0", large ? "size-9" : "size-5")}>
      <rect width="32" height="32" rx="8" fill="#4f46e5" />
      <path d="M8 10h16M8 16h10M8 22h13" stroke="#fff" strokeWidth="3" strokeLinecap="round" />
    </svg>
  );
}
