// The real server with its built-in model, in a folder of its own that goes with it.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const TOKEN = "a token of the check";
const TALKS = [
  ["What tea should I brew on a cold rainy day?", "A cup of black tea with milk fits most days."],
  ["Please decide how to treat my headache.", "Fresh air and a short walk often help."],
  ["I do not know which board game to play.", "Charades makes people laugh."],
];

/** Starts it and tells it some dialogues that it may ask about. */
export async function start(binary) {
  const folder = mkdtempSync(join(tmpdir(), "homespun-page-"));
  writeFileSync(join(folder, "token"), TOKEN);
  const child = spawn(resolve(binary), [
    "serve", "--model", "builtin", "--state", join(folder, "state"), "--listen", "127.0.0.1:0",
    "--token", join(folder, "token"), "--max-tokens", "24",
  ], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, XDG_CONFIG_HOME: folder } });
  let told = "";
  child.stderr.on("data", (text) => { told += text; });
  const ended = new Promise((done) => child.once("close", done));
  const close = async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true });
  };
  const line = await Promise.race([
    new Promise((first) => createInterface(child.stdout).once("line", first)), ended.then(() => null),
  ]);
  if (line === null) throw new Error(`the server does not start: ${told}`);
  const url = line.trim().startsWith("http") ? line.trim() : `http://${line.trim()}`;
  for (const [question, reply] of TALKS) {
    const messages = [{ role: "user", content: question }, { role: "assistant", content: reply }];
    const response = await fetch(`${url}/v1/dialogues`, {
      method: "POST", headers: { Authorization: `Bearer ${TOKEN}` }, body: JSON.stringify({ messages, answer: null }),
    });
    if (!response.ok) throw new Error(`a dialogue is not taken: ${response.status} ${await response.text()}`);
  }
  return { url, token: TOKEN, mock: null, close };
}
