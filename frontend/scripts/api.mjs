// Write src/api/schema.d.ts: the types of the REST API, from the OpenAPI document that the Python side prints.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const own = join(root, ".venv/bin/python");
const python = process.env.FAIRLANE_PYTHON ?? (existsSync(own) ? own : "python3");
const document = join(mkdtempSync(join(tmpdir(), "fairlane-")), "openapi.json");
writeFileSync(document, execFileSync(python, ["-m", "fairlane.api"], { cwd: root, maxBuffer: 2 ** 26 }));
execFileSync("npx", ["--no-install", "openapi-typescript", document, "-o", "src/api/schema.d.ts"], {
  cwd: join(root, "frontend"),
  stdio: ["ignore", "ignore", "inherit"],
});
