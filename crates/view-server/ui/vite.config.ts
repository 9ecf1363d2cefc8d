// How the page is built; `cargo xtask ui` calls it. For work on the page itself:
// `npm run dev`, which passes what is not the page's on to a running view-server.
import { defineConfig } from "vite";

const server = process.env["FOREBAY_URL"] ?? "http://127.0.0.1:3001";
// The view-server takes changes only from its own origin.
const passOn = { target: server, changeOrigin: true, headers: { origin: server } };

export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    target: "es2022",
    // Everything in files: the page's policy allows nothing inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    outDir: process.env["FOREBAY_UI_OUT"] ?? "dist",
    emptyOutDir: true,
  },
  server: { host: "127.0.0.1", proxy: { "/api": passOn, "/rt": { ...passOn, ws: true } } },
});
