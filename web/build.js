/**
 * Build the page into the package: `page.html` with places for the model, the runtime's WebAssembly, licences, and the
 * sha256 of each. The same sources give the same bytes.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { build } from "esbuild";
import { STEPS } from "./src/signal/steps.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const OUT = process.argv[2] ?? here("../src/ecgtune/deployment/page_files/");
const RUNTIME = "node_modules/onnxruntime-web/";
const sha256 = (bytes, encoding = "hex") => createHash("sha256").update(bytes).digest(encoding);

async function bundled(entry, format = "iife") {
  const { outputFiles } = await build({
    absWorkingDir: here("."),
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    format,
    target: ["es2022"],
    charset: "ascii",
    legalComments: "none",
    logLevel: "warning",
  });
  return outputFiles[0].text.trim();
}

/** Text inside a script element, which must not end it. */
const safe = (text) => text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");

const [script, worker, style] = await Promise.all([
  bundled("src/page/main.js"),
  bundled("src/page/worker.js"),
  bundled("src/page/style.css"),
]);
const source = (text) => `'sha256-${sha256(text, "base64")}'`;
// Nothing may be loaded from anywhere: what runs is this script, and the worker that it makes.
const policy = [
  "default-src 'none'",
  `script-src ${source(safe(script))} 'wasm-unsafe-eval'`,
  "worker-src blob:",
  `style-src ${source(style)}`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const { version, license } = JSON.parse(readFileSync(here(`${RUNTIME}package.json`), "utf8"));
const parts = {
  POLICY: policy,
  STYLE: style,
  WORKER: safe(worker),
  SCRIPT: safe(script),
  VERSION: version,
  LICENCE: readFileSync(here("onnxruntime.LICENSE"), "utf8"),
};
const page = readFileSync(here("src/page/page.html"), "utf8").replace(
  /@@([A-Z]+)@@/g,
  (place, name) => parts[name] ?? place,
);
const wasm = readFileSync(here(`${RUNTIME}dist/ort-wasm-simd-threaded.wasm`));

mkdirSync(OUT, { recursive: true });
/** Write a file compressed; one with the same content stays, since the compressor may differ. */
function write(name, content) {
  const path = `${OUT}/${name}.gz`;
  const bytes = Buffer.from(content);
  if (existsSync(path) && gunzipSync(readFileSync(path)).equals(bytes)) return;
  writeFileSync(path, gzipSync(bytes, { level: 9 }));
}
write("page.html", page);
write("runtime.wasm", wasm);
const facts = {
  steps: Object.keys(STEPS),
  "onnxruntime-web": { version, license },
  sha256: { "page.html": sha256(page), "runtime.wasm": sha256(wasm) },
};
writeFileSync(`${OUT}/contents.json`, `${JSON.stringify(facts, null, 2)}\n`);
