// The programs of the test: the model server, and VS Code as code-server with the packaged extension.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";

export const ROOT = path.resolve(import.meta.dirname, "../../..");
export const BUILD = path.join(ROOT, "build/vscode");
const CODE_SERVER = path.join(BUILD, "node_modules/code-server/out/node/entry.js");
const PELLUCID = path.join(ROOT, ".venv/bin/pellucid");

/** Settings of a window that looks the same in each test, and changes nothing by itself. */
export const PLAIN_WINDOW = {
  "editor.minimap.enabled": false,
  "extensions.autoCheckUpdates": false,
  "extensions.autoUpdate": false,
  "files.autoSave": "off",
  "telemetry.telemetryLevel": "off",
  "workbench.colorTheme": "Default Dark Modern",
  "workbench.reduceMotion": "on",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.startupEditor": "none",
};

/** Processes that are ended, last first, by `stop()`. */
const started = [];

export async function stop() {
  for (const child of started.reverse().filter((one) => one.exitCode === null)) {
    child.kill("SIGTERM");
    await once(child, "exit");
  }
}

/** Starts a model server; its address. */
export async function serve(folder, given = undefined, variables = {}) {
  const port = given ?? (await freePort());
  const options = ["--port", String(port), "--data", path.join(folder, "served")];
  start([PELLUCID, "serve", ...options], { ...process.env, ...variables }, path.join(folder, "serve.log"));
  const url = `http://127.0.0.1:${port}`;
  await answers(`${url}/health`);
  return url;
}

/** Starts VS Code on a folder, with a home of its own; its address. */
export async function serveCode(folder, settings) {
  const home = path.join(folder, "home");
  const data = path.join(folder, "data");
  const options = [
    "--user-data-dir",
    data,
    "--extensions-dir",
    path.join(folder, "extensions"),
    "--config",
    path.join(folder, "config.yaml"),
  ];
  const environment = { ...withoutHome(process.env), HOME: home };
  await mkdir(home, { recursive: true });
  await writeFile(path.join(folder, "config.yaml"), "auth: none\n");
  await writeSettings(folder, settings);
  const install = start(
    ["node", CODE_SERVER, ...options, "--install-extension", await vsix()],
    environment,
    path.join(folder, "install.log"),
  );
  const [status] = await once(install, "exit");
  if (status !== 0) {
    throw new Error(`code-server did not install the extension: see ${folder}/install.log.`);
  }
  const port = await freePort();
  const quiet = ["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"];
  const address = ["--auth", "none", "--bind-addr", `127.0.0.1:${port}`];
  start(["node", CODE_SERVER, ...options, ...quiet, ...address], environment, path.join(folder, "code-server.log"));
  const url = `http://127.0.0.1:${port}`;
  await answers(`${url}/healthz`);
  return url;
}

/** Writes the settings; a running VS Code takes them at once. Where Pellucid is, is a setting of the machine, not of the user. */
export async function writeSettings(folder, settings) {
  for (const owner of ["User", "Machine"]) {
    const data = path.join(folder, "data", owner);
    const own = Object.entries(settings).filter(([name]) => /^pellucid\.(command|server\.)/.test(name) === (owner === "Machine"));
    await mkdir(data, { recursive: true });
    await writeFile(path.join(data, "settings.json"), JSON.stringify(Object.fromEntries(own)));
  }
}

/** The ids of the language servers that run under the home of a folder. */
export async function languageServers(folder) {
  const home = `HOME=${path.join(folder, "home")}`;
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    ids.map(async (id) => {
      const parts = await Promise.all(["cmdline", "environ"].map((name) => readFile(`/proc/${id}/${name}`, "utf8").catch(() => "")));
      const [words, variables] = parts.map((part) => part.split("\0"));
      return words.includes("lsp") && variables.includes(home) ? [Number(id)] : [];
    }),
  );
  return found.flat();
}

async function vsix() {
  const extension = path.join(ROOT, "editors/vscode");
  const packages = (await readdir(extension)).filter((name) => name.endsWith(".vsix"));
  if (packages.length !== 1) {
    throw new Error(`There should be one package in editors/vscode, not ${packages.length}: run make vsix.`);
  }
  return path.join(extension, packages[0]);
}

function withoutHome(environment) {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("XDG_")));
}

function start([program, ...args], env, log) {
  const child = spawn(program, args, {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const file = createWriteStream(log);
  child.stdout.pipe(file, { end: false });
  child.stderr.pipe(file, { end: false });
  started.push(child);
  return child;
}

async function answers(url) {
  const until = Date.now() + 300_000;
  for (;;) {
    const status = await fetch(url).then(
      (reply) => reply.status,
      () => 0,
    );
    if (status === 200) {
      return;
    }
    if (Date.now() > until) {
      throw new Error(`${url} did not answer within five minutes (last status ${status}).`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
