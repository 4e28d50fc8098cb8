// Bundles the extension for Node and the views for the browser into dist/. --watch rebuilds on change, --minify for release.

import * as esbuild from "esbuild";

const watch = process.argv.includes("--watch");
const shared = { bundle: true, minify: process.argv.includes("--minify"), sourcemap: watch, logLevel: "warning", outdir: "dist" };
const bundles = [
  { ...shared, entryPoints: ["src/extension.ts"], platform: "node", format: "cjs", target: "node20", external: ["vscode"] },
  {
    ...shared,
    entryPoints: ["tokens.ts", "tokens.css", "chat.ts", "chat.css"].map((name) => `src/view/${name}`),
    platform: "browser",
    format: "iife",
    target: "es2022",
  },
];

for (const bundle of bundles) {
  if (watch) {
    await (await esbuild.context(bundle)).watch();
  } else {
    await esbuild.build(bundle);
  }
}
