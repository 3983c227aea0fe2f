// What all views share: elements, notices, dialogs, calls of the server.

const $ = (id) => document.getElementById(id);

/** An element. A child that is a string becomes a text node: nothing here is ever read as markup. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** What a person or the model wrote. */
function words(tag, text, attributes = {}) {
  const node = make(tag, { dir: "auto", ...attributes });
  node.textContent = text;
  return node;
}

/** A button; while its work goes on it is not pressed again, and a failure is told. */
function button(label, work, attributes = {}) {
  const node = make("button", { type: "button", ...attributes }, label);
  pressed(node, work);
  return node;
}

function pressed(node, work) {
  node.addEventListener("click", () => once(node, work));
}

// Not `disabled`, which would take the keyboard's focus away.
async function once(node, work) {
  if (node.getAttribute("aria-disabled") === "true") return;
  node.setAttribute("aria-disabled", "true");
  await guarded(work);
  node.removeAttribute("aria-disabled");
}

/** Does it; what fails is told in words. */
async function guarded(work) {
  try {
    clearTrouble();
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") trouble(error.message);
  }
}

function trouble(text) {
  $("trouble-text").textContent = text;
  $("trouble").hidden = false;
}

function clearTrouble() {
  $("trouble").hidden = true;
  $("trouble-text").textContent = "";
}

/** Seen and read out, until it is taken back with "". */
function note(text) {
  $("note").textContent = text;
}

/** Read out by a screen reader; for who sees, the page shows it already. */
function say(text) {
  $("said").textContent = text;
}

/** Opens a dialog; true when its form was sent, false when it was left. */
function opened(dialog, form, no) {
  return new Promise((resolve) => {
    const ended = new AbortController();
    const end = (answer) => {
      ended.abort();
      dialog.close();
      resolve(answer);
    };
    const { signal } = ended;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      end(true);
    }, { signal });
    no.addEventListener("click", () => end(false), { signal });
    dialog.addEventListener("close", () => end(false), { signal });
    dialog.showModal();
  });
}

/** Whether the person wants it; with `word` only after that was typed. */
async function confirmed({ heading, text, yes, word = "" }) {
  $("confirm-heading").textContent = heading;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  $("confirm-type").hidden = word === "";
  $("confirm-label").textContent = `Type ${word} to go on`;
  const box = $("confirm-box");
  const check = () => { $("confirm-yes").disabled = word !== "" && box.value.trim() !== word; };
  box.value = "";
  box.oninput = check;
  check();
  const answer = opened($("confirm"), $("confirm-form"), $("confirm-no"));
  (word === "" ? $("confirm-no") : box).focus();
  return answer;
}

// The token: of this tab only, asked for once however many calls want it.

const TOKEN = "homespun-token";
let asking = null;

async function askToken() {
  const box = $("token-box");
  if (sessionStorage.getItem(TOKEN) !== null) {
    $("token-why").textContent = "The server does not know that token. Is there another?";
  }
  box.value = "";
  const given = opened($("token"), $("token-form"), $("token-cancel"));
  box.focus();
  if (!await given) {
    const why = "Without its token the server does not answer. Load the page again to enter it.";
    throw Object.assign(new Error(why), { denied: true });
  }
  sessionStorage.setItem(TOKEN, box.value.trim());
}

function askTokenOnce() {
  asking ??= askToken().finally(() => { asking = null; });
  return asking;
}

/** Waits, or throws when `signal` is told to stop. */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

async function fetched(method, path, body, signal) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, {
      method, headers, signal, cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw Object.assign(new Error("The server cannot be reached. Is it still running?"), { gone: true });
  }
}

async function reason(response) {
  const told = await response.json().catch(() => null);
  const why = told?.error?.message ?? response.statusText;
  return Object.assign(new Error(`The server says: ${why}.`), { status: response.status });
}

/** How often a busy server is asked again. */
const TRIES = 60;

/** Asks the server; waits where it is busy, asks for the token where it wants one. */
async function call(method, path, body, signal) {
  for (let tries = 0; ; tries += 1) {
    const token = sessionStorage.getItem(TOKEN);
    const response = await fetched(method, path, body, signal);
    if (response.status === 401) {
      // Another call may have asked for it meanwhile.
      if (sessionStorage.getItem(TOKEN) === token) await askTokenOnce();
    } else if (response.status === 503 && tries < TRIES) {
      const seconds = Number(response.headers.get("Retry-After")) || 2;
      note(`The model is busy. Asking again in ${counted(seconds, "second")}.`);
      await pause(seconds * 1000, signal).finally(() => note(""));
    } else if (!response.ok) {
      throw await reason(response);
    } else {
      return response;
    }
  }
}

/** The JSON that a call answers; null where there is none. A wait that drags on is told. */
async function read(method, path, body) {
  const slow = setTimeout(() => note("The model is at work. It answers in a moment."), 1500);
  try {
    const response = await call(method, path, body);
    return response.status === 204 ? null : await response.json();
  } finally {
    clearTimeout(slow);
    note("");
  }
}

/** "1 second", "2 seconds". */
function counted(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** The messages of a dialogue, each with who said it. */
function spoken(messages) {
  const who = { user: "You", assistant: "Model", system: "Setting" };
  return make("div", { class: "spoken" }, ...messages.map(({ role, content }) =>
    make("div", { class: "said" }, make("p", { class: "who" }, who[role] ?? role), words("p", content, { class: "text" }))));
}

/** A form in which the person writes a better reply; `save` gets it. */
function betterForm(id, reply, save, leave) {
  const box = words("textarea", reply, { id, rows: "3", required: true });
  const send = make("button", { type: "submit", class: "main" }, "Save");
  const form = make("form", { class: "better" },
    make("label", { for: id }, "A better reply"), box,
    make("div", { class: "row" }, button("Cancel", leave, { class: "plain" }), send));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = box.value.trim();
    if (text !== "") once(send, () => save(text === reply.trim() ? "accept" : { preferred: text }));
  });
  return form;
}

pressed($("trouble-close"), clearTrouble);
