import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `fairlane serve` beside `npm run dev`; it answers what is below /api.
const server = process.env.FAIRLANE_DEV_SERVER ?? "http://127.0.0.1:8000";

export default defineConfig({
  // Relative, as the server says below which path the pages are (<base>).
  base: "./",
  plugins: [react(), tailwindcss()],
  build: {
    outDir: "../src/fairlane/dashboard",
    emptyOutDir: true,
    target: "es2023",
    // Nothing inline: the Content-Security-Policy refuses it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // What several screens share is small: one file of it is fetched sooner than one for each.
    rolldownOptions: {
      output: {
        codeSplitting: {
          includeDependenciesRecursively: false,
          groups: [
            {
              name: "shared",
              test: /src.(shell.(JobLink|OrganizationId)|screens.(overview.Slowest|queues.(HeldBack|PausedBy|holds)))/,
            },
          ],
        },
      },
    },
  },
  server: { proxy: { "/api": { target: server, ws: true } } },
  // Threads start sooner than processes.
  test: { include: ["src/**/*.test.ts"], pool: "threads" },
});
