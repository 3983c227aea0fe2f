// Talk: messages, the reply as it is written, and the person's word on it.

const talk = { messages: [], turn: null };

/** The texts of a stream of server-sent events. */
async function* pieces(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines.filter((line) => line.startsWith("data:"))) {
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const { error, choices } = JSON.parse(data);
      if (error) throw new Error(`The reply failed: ${error.message}.`);
      if (choices?.[0]) yield choices[0];
    }
  }
}

/** Keeps the end in sight, unless the person reads further up. */
function follow(change) {
  const page = document.documentElement;
  const atEnd = page.scrollHeight - page.clientHeight - page.scrollTop < 80;
  change();
  if (atEnd) page.scrollTop = page.scrollHeight;
}

function message(role, text) {
  const body = words("p", text, { class: "text" });
  const who = make("p", { class: "who unseen" }, role === "user" ? "You" : "Model");
  const item = make("li", { class: role }, who, body);
  follow(() => $("messages").append(item));
  return { item, body };
}

function showTalking() {
  const writing = talk.turn !== null;
  $("send").hidden = writing;
  $("stop").hidden = !writing;
  $("new-talk").hidden = talk.messages.length === 0;
  $("hello").hidden = talk.messages.length > 0;
}

/** What can be said of the reply before is not asked any more once the talk goes on. */
function retire() {
  for (const tools of document.querySelectorAll("#messages .tools")) tools.remove();
  for (const form of document.querySelectorAll("#messages .better")) form.remove();
  for (const text of document.querySelectorAll("#messages .text")) text.hidden = false;
}

async function send(question) {
  retire();
  const asked = { role: "user", content: question };
  const turn = new AbortController();
  talk.turn = turn;
  talk.messages.push(asked);
  const mine = message("user", question);
  const reply = message("assistant", "");
  reply.item.setAttribute("aria-busy", "true");
  $("box").value = "";
  showTalking();
  say("The model writes.");
  let text = "";
  let failure = null;
  try {
    const request = { messages: talk.messages, stream: true };
    const response = await call("POST", "/v1/chat/completions", request, turn.signal);
    for await (const { delta, finish_reason: finish } of pieces(response)) {
      text += delta?.content ?? "";
      follow(() => { reply.body.textContent = text.trimStart(); });
      if (finish === "length") remark(reply.item, "Cut here: it was as long as a reply may be.");
    }
  } catch (error) {
    failure = error;
  }
  // A new talk has begun meanwhile.
  if (talk.turn !== turn) return;
  talk.turn = null;
  text = text.trim();
  const stopped = failure?.name === "AbortError";
  if (failure && !(stopped && text !== "")) {
    // There is no reply: the question is the person's again.
    talk.messages.pop();
    mine.item.remove();
    reply.item.remove();
    if ($("box").value === "") $("box").value = question;
    if (!stopped) trouble(failure.message);
  } else {
    talk.messages.push({ role: "assistant", content: text });
    reply.item.removeAttribute("aria-busy");
    reply.body.textContent = text;
    if (text === "") remark(reply.item, "It said nothing.");
    if (stopped) remark(reply.item, "Stopped here.");
    follow(() => reply.item.append(tools(reply, talk.messages.length - 1)));
  }
  say(failure && !stopped ? "" : text);
  showTalking();
}

function remark(item, text) {
  follow(() => item.append(make("p", { class: "remark" }, text)));
}

/** "Good" and "Better..." for the reply at `index`. */
function tools(reply, index) {
  const row = make("div", { class: "tools", role: "group", "aria-label": "Your word on this reply" });
  row.append(
    button("Good", () => tell(reply, index, "accept")),
    button("Better…", () => {
      const leave = () => {
        form.remove();
        reply.body.hidden = false;
        row.hidden = false;
        row.lastElementChild.focus();
      };
      const save = (answer) => tell(reply, index, answer);
      const form = betterForm(`better-${index}`, talk.messages[index].content, save, leave);
      reply.body.hidden = true;
      row.hidden = true;
      reply.item.append(form);
      form.querySelector("textarea").focus();
    }));
  return row;
}

/** Tells the server the person's word; the talk goes on from the reply as it should have been. */
async function tell(reply, index, answer) {
  const messages = talk.messages.slice(0, index + 1);
  const { kept, domain } = await read("POST", "/v1/dialogues", { messages, answer });
  if (answer.preferred !== undefined) {
    messages[index].content = answer.preferred;
    reply.body.textContent = answer.preferred;
  }
  reply.body.hidden = false;
  reply.item.querySelector(".tools")?.remove();
  reply.item.querySelector(".better")?.remove();
  const told = answer === "accept" ? "Good, you said." : "In your words.";
  const then = kept ? `Kept${domain ? ` under ${domain}` : ""}.` : "Not kept: the buffer has better ones.";
  remark(reply.item, `${told} ${then}`);
  say(`${told} ${then}`);
  $("box").focus();
  look();
}

function newTalk() {
  talk.turn?.abort();
  Object.assign(talk, { messages: [], turn: null });
  $("messages").replaceChildren();
  say("A new talk.");
  showTalking();
  $("box").focus();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("box").value.trim();
  if (question !== "" && talk.turn === null) guarded(() => send(question));
});

$("box").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

$("stop").addEventListener("click", () => {
  talk.turn?.abort();
  $("box").focus();
});

pressed($("new-talk"), newTalk);
