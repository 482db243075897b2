// What a browser loads before it shows the first page has to stay small. Says how much it is, compressed.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const LARGEST = 250_000; // bytes
const built = fileURLToPath(new URL("../../src/fairlane/dashboard", import.meta.url));
const seen = new Set();

function load(name) {
  if (seen.has(name)) return;
  seen.add(name);
  const text = readFileSync(join(built, name), "utf8");
  const imported = name.endsWith(".html")
    ? text.matchAll(/(?:src|href)="\.\/([^"]+)"/g)
    : text.matchAll(/(?:from|import)\s*"(\.\/[^"]+\.js)"/g);
  for (const [, path] of imported) load(name.endsWith(".html") ? path : join(dirname(name), path));
}

load("index.html");
const total = [...seen].reduce((sum, name) => sum + gzipSync(readFileSync(join(built, name))).length, 0);
console.log(
  `First load: ${Math.round(total / 1000)} kB compressed, in ${seen.size} files (at most ${LARGEST / 1000} kB).`,
);
if (total > LARGEST) {
  console.error("That is too much: load what few pages need when they need it (lazyRouteComponent, import()).");
  process.exit(1);
}
