import { useState } from "react";
import { applyAppearance, type Density, recall, remember, type Theme } from "../../settings";
import { Card, Select } from "../../ui";

/** How the page looks, in this browser. */
export function Appearance() {
  const [theme, setTheme] = useState(() => recall<Theme>("theme", "system"));
  const [density, setDensity] = useState(() => recall<Density>("density", "comfortable"));
  const choose = (name: string, value: string) => {
    remember(name, value);
    applyAppearance();
  };
  return (
    <Card title="Appearance">
      <div className="grid gap-4 sm:grid-cols-2">
        <Select
          label="Theme"
          value={theme}
          onChange={(event) => {
            setTheme(event.target.value as Theme);
            choose("theme", event.target.value);
          }}
        >
          <option value="system">As the system</option>
          <option value="light">Light</option>
          <option value="dark">Dark</option>
        </Select>
        <Select
          label="Tables"
          value={density}
          onChange={(event) => {
            setDensity(event.target.value as Density);
            choose("density", event.target.value);
          }}
        >
          <option value="comfortable">Comfortable</option>
          <option value="compact">Compact: more rows on a screen</option>
        </Select>
      </div>
      <p className="mt-4 text-xs text-muted">Kept in this browser, for you alone.</p>
    </Card>
  );
}
