import { useEffect, useState } from "react";
import { Input } from "./Field";

const PAUSE = 400; // milliseconds after the last key before one looks

interface Props {
  label: string;
  hideLabel?: boolean;
  placeholder?: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}

/** A text that is looked for a moment after the last key. */
export function Search({ value, onChange, ...rest }: Props) {
  const [typed, setTyped] = useState(value ?? "");
  useEffect(() => setTyped(value ?? ""), [value]);
  useEffect(() => {
    if (typed === (value ?? "")) return;
    const timer = setTimeout(() => onChange(typed || undefined), PAUSE);
    return () => clearTimeout(timer);
  });
  return <Input type="search" maxLength={200} value={typed} onText={setTyped} {...rest} />;
}

/** A value, once nobody has changed it for a moment. */
export function usePaused<T>(value: T): T {
  const [last, setLast] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setLast(value), PAUSE);
    return () => clearTimeout(timer);
  }, [value]);
  return last;
}
