import { useEffect, useEffectEvent, useRef, useState } from "react";
import { Input } from "./Field";

const PAUSE = 400; // milliseconds after the last key before one looks

interface Props {
  label: string;
  hideLabel?: boolean;
  placeholder?: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
  /** What is wrong with a text, so that nothing is looked for; null: nothing. */
  wrongOf?: (text: string) => string | null;
}

/** A text that is looked for a moment after the last key, once. */
export function Search({ value, onChange, wrongOf = () => null, ...rest }: Props) {
  const [typed, setTyped] = useState(value ?? "");
  const [wrong, setWrong] = useState<string | null>(null);
  const told = useRef(value);
  const tell = useEffectEvent((text: string) => {
    const found = text === "" ? null : wrongOf(text);
    setWrong(found);
    if (found !== null || text === (told.current ?? "")) return;
    told.current = text || undefined;
    onChange(told.current);
  });
  useEffect(() => {
    const timer = setTimeout(() => tell(typed), PAUSE);
    return () => clearTimeout(timer);
  }, [typed]);
  // What came of the last key may come while the next ones are typed: only what somebody else chose is put here.
  useEffect(() => {
    if (value === told.current) return;
    told.current = value;
    setTyped(value ?? "");
  }, [value]);
  return <Input type="search" maxLength={200} value={typed} onText={setTyped} error={wrong} {...rest} />;
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
