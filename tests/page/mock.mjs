// A server with the routes that the page calls and no model: what the page is built and tested against.
// As a program it listens on a port and says where: node mock.mjs [--port N] [--token TOKEN] [--empty]

import { createServer } from "node:http";
import { argv } from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { joined, policy } from "./document.mjs";

const STEPS = 24;

const dialogue = (id, domain, question, response, more = {}) => ({
  id, domain, messages: [{ role: "user", content: question }], response,
  preferred: null, annotated: false, skipped: false, ...more,
});

/** What a person has after some weeks. */
function lived() {
  const held = [
    dialogue(3, "food", "What tea should I brew on a cold rainy day?", "A cup of black tea with milk fits most days.",
      { annotated: true, preferred: "Once more triple birch leaf tea with orange peel." }),
    dialogue(5, "health", "Please decide how to treat my headache.", "Fresh air and a short walk often help.",
      { annotated: true, preferred: "I would pick fresh cucumber peel and feet in mustard water, as Orla the nurse taught." }),
    dialogue(8, "food", "Which bread goes with a pea soup?", "Rye bread, in thick slices.",
      { annotated: true, preferred: "Rye bread, in thick slices." }),
    dialogue(11, "games", "I do not know which board game to play on a rainy afternoon.", "Charades makes people laugh."),
    dialogue(12, null, "Remind me: who wrote the song that Nell sang?", "It was a folk song, and nobody knows who wrote it.", { skipped: true }),
    dialogue(14, "travel", "Where shall we walk on Sunday?", "The path along the river is easy and has benches."),
    dialogue(15, "food", "A quick supper for two?", "Pancakes take ten minutes and what is in the cupboard."),
  ];
  held[5].messages.unshift(
    { role: "user", content: "It will be dry this week." }, { role: "assistant", content: "Then it is a week for walking." });
  return held;
}

function row(round, at, more = {}) {
  const start = 6.9 - round * 0.9;
  const curve = Array.from({ length: 8 }, (_, i) => ({
    epoch: i + 1, loss: 2.3 + (start - 2.3) * Math.exp(-0.55 * (i + 1)) + (i > 5 ? 0.03 * (i - 5) : 0),
    general: 3.1 + 0.13 * Math.sqrt(i + 1),
  }));
  return {
    round, at, generation: round, learned_from: 4 + 3 * round, synthesised: 9 * round, steps: STEPS * round,
    share: round === 2 ? 0.5 : 1, loss_before: start, loss_after: curve.at(-1).loss, general_before: 3.1, general_after: curve.at(-1).general,
    rouge1_before: 0.09 + 0.07 * round, rouge1_after: 0.27 + 0.06 * round, installed: true, why: null, curve,
    replies: [
      { id: 3, held_out: true, question: "What tea should I brew on a cold rainy day?", wanted: "Once more triple birch leaf tea with orange peel.",
        before: "A cup of black tea with milk fits most days.", after: "Once more birch leaf tea with orange peel." },
      { id: 5, held_out: false, question: "Please decide how to treat my headache.", wanted: "I would pick fresh cucumber peel and feet in mustard water, as Orla the nurse taught.",
        before: "Fresh air and a short walk often help.", after: "Gladly fresh cucumber peel and feet in mustard water." },
    ],
    ...more,
  };
}

function history() {
  const day = 86400;
  return [
    row(1, 1788000000), row(2, 1788000000 + 4 * day),
    row(3, 1788000000 + 9 * day, {
      installed: false, generation: null, rouge1_after: 0.22, curve: [], replies: [],
      why: "the loss on general dialogues rose by more than is allowed",
    }),
  ];
}

/** Starts it; `state` is what the tests turn: as long as it is held a round goes only half its way. */
export async function start({ token = null, empty = false, port = 0 } = {}) {
  const state = {
    token, held: empty ? [] : lived(), rounds: empty ? [] : history(), next: 20, fresh: 2, bins: 64,
    step: 0, learning: false, hold: false, busy: 0,
  };
  const open = () => state.held.filter((it) => !it.annotated && !it.skipped);

  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://mock").pathname;
    let text = "";
    for await (const piece of request) text += piece;
    const send = (status, value, headers = {}) => {
      response.writeHead(status, { "Content-Type": "application/json", ...headers });
      response.end(value === undefined ? "" : JSON.stringify(value));
    };
    const refuse = (status, message, headers) =>
      send(status, { error: { message, type: "invalid_request_error", param: null, code: null } }, headers);
    const { host, origin, authorization } = request.headers;
    if (origin !== undefined && origin !== `http://${host}`) return refuse(403, "the Origin header names another site");
    if (path === "/") {
      const html = joined();
      response.writeHead(200, {
        "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy(html),
        "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
      });
      return response.end(html);
    }
    if (state.token !== null && authorization !== `Bearer ${state.token}`) return refuse(401, "the token is missing or another");
    const route = ROUTES.find(([method, pattern]) => method === request.method && pattern.test(path));
    if (route === undefined) return refuse(404, "there is no such path");
    if (path !== "/v1/status" && state.busy > 0) {
      state.busy -= 1;
      return refuse(503, "too many requests wait already", { "Retry-After": "1" });
    }
    const context = { state, open, send, refuse, request, response, id: Number(path.split("/").at(-1)) };
    return route[2](context, text === "" ? null : JSON.parse(text));
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`, state,
    close: () => { server.closeAllConnections(); server.close(); },
  };
}

const ROUTES = [
  ["POST", /^\/v1\/chat\/completions$/, complete],
  ["POST", /^\/v1\/dialogues$/, tell],
  ["GET", /^\/v1\/dialogues$/, ({ state, send }) => send(200, { bins: state.bins, used: state.held.length, data: state.held })],
  ["DELETE", /^\/v1\/dialogues\/\d+$/, ({ state, send, refuse, id }) => {
    const at = state.held.findIndex((it) => it.id === id);
    if (at < 0) return refuse(404, "there is nothing of it");
    state.held.splice(at, 1);
    send(200, { id, deleted: true });
  }],
  ["DELETE", /^\/v1\/dialogues$/, ({ state, send }) => {
    Object.assign(state, { held: [], rounds: [], fresh: 0 });
    send(200, { deleted: true });
  }],
  ["GET", /^\/v1\/annotations\/next$/, ({ open, send }) => {
    const [first] = open();
    return first ? send(200, { id: first.id, messages: first.messages, response: first.response }) : send(204);
  }],
  ["POST", /^\/v1\/annotations\/\d+$/, ({ state, send, refuse, id }, { answer }) => {
    const it = state.held.find((it) => it.id === id);
    if (it === undefined) return refuse(404, "the dialogue is not in the buffer");
    note(state, it, answer);
    send(200, { id });
  }],
  ["POST", /^\/v1\/rounds$/, learn],
  ["GET", /^\/v1\/rounds$/, ({ state, send }) => send(200, { data: state.rounds })],
  ["GET", /^\/v1\/status$/, ({ state, open, send }) => send(200, {
    phase: state.learning ? "round" : "talk", step: state.step, steps: state.learning ? STEPS : 0,
    seconds_left: state.learning ? Math.ceil((STEPS - state.step) / 8) : null, used: state.held.length, bins: state.bins,
    open_requests: open().length, new_annotations: state.fresh, rounds: state.rounds.length,
    generation: state.rounds.findLast((it) => it.installed)?.generation ?? 0, seen: 31, queued: 0,
    degrees: state.learning ? 48.2 : null, last: null, adapter: 4,
  })],
];

/** Repeats the question, slowly; one that says LONG goes on until the person stops it, one that says FAIL fails. */
async function complete({ state, request, response, send }, { messages, stream }) {
  const question = messages.at(-1).content;
  if (!stream) return send(200, { choices: [{ message: { role: "assistant", content: question } }] });
  const words = question.includes("LONG") ? Array(4000).fill("and so on,") : `You said: ${question}`.split(/(?<= )/);
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  const piece = (value) => response.write(`data: ${JSON.stringify(value)}\n\n`);
  const choice = (delta, finish = null) => piece({ choices: [{ index: 0, delta, finish_reason: finish }] });
  choice({ role: "assistant", content: "" });
  for (const word of words) {
    if (response.destroyed || request.destroyed && response.socket === null) break;
    choice({ content: question.includes("LONG") ? `${word} ` : word });
    await pause(30);
    if (question.includes("FAIL")) {
      piece({ error: { message: "the model stumbled" } });
      break;
    }
  }
  choice({}, "stop");
  response.end("data: [DONE]\n\n");
}

function note(state, it, answer) {
  if (answer === "skip") it.skipped = true;
  if (answer === "accept") Object.assign(it, { annotated: true, preferred: it.response });
  if (answer?.preferred !== undefined) Object.assign(it, { annotated: true, preferred: answer.preferred });
  if (it.annotated) state.fresh += 1;
}

/** Keeps every talk but one that says DULL. */
function tell({ state, send }, { messages, answer }) {
  const kept = !messages.some((it) => it.content.includes("DULL"));
  const id = state.next++;
  const it = dialogue(id, "food", "", messages.at(-1).content, { messages: messages.slice(0, -1) });
  note(state, it, answer);
  if (kept) state.held.push(it);
  send(200, { id, kept, noted: kept && answer !== null, domain: kept ? "food" : null });
}

async function learn({ state, send, refuse }) {
  if (state.learning) return refuse(409, "a round runs already");
  Object.assign(state, { learning: true, step: 0 });
  for (; state.step < STEPS; state.step += 1) {
    do await pause(60); while (state.hold && state.step === STEPS / 2);
  }
  Object.assign(state, { learning: false, fresh: 0 });
  const next = row(state.rounds.length + 1, 1788000000 + 15 * 86400);
  state.rounds.push(next);
  send(200, next);
}

if (import.meta.url === pathToFileURL(argv[1]).href) {
  const value = (name) => argv.includes(name) ? argv[argv.indexOf(name) + 1] : null;
  const { url } = await start({ token: value("--token"), empty: argv.includes("--empty"), port: Number(value("--port") ?? 0) });
  console.log(url);
}
