import { Input } from "../../ui";
import { limitOf } from "./describe";

interface Props {
  label: string;
  hint?: string;
  value: string;
  onText: (text: string) => void;
}

/** How many there may be: a whole number, or nothing for as many as come. */
export function LimitInput({ hint = "Nothing: unlimited.", value, ...rest }: Props) {
  const wrong = limitOf(value) === undefined ? "A whole number from 0 on, or nothing." : null;
  return <Input inputMode="numeric" hint={hint} error={wrong} value={value} {...rest} />;
}
