// Remembered: the buffer by domain, and how to forget.

const NO_DOMAIN = "anything else";

/** What the person said of a dialogue. */
function word({ annotated, skipped, preferred, response }) {
  if (annotated) return preferred !== null && preferred !== response ? "you wrote a better reply" : "you accepted the reply";
  return skipped ? "not now, you said" : "not asked about yet";
}

async function showRemembered() {
  const { bins, used, data } = await read("GET", "/v1/dialogues");
  const domains = new Map();
  for (const dialogue of data) {
    const domain = dialogue.domain ?? NO_DOMAIN;
    domains.set(domain, [...(domains.get(domain) ?? []), dialogue]);
  }
  const groups = [...domains].sort(([a, left], [b, right]) =>
    (a === NO_DOMAIN) - (b === NO_DOMAIN) || right.length - left.length || a.localeCompare(b));
  const room = make("div", { class: "room" },
    make("label", { for: "room" }, `${used} of ${bins} bins used`),
    make("meter", { id: "room", min: "0", max: String(bins), value: String(used) }));
  const empty = make("div", { class: "empty" },
    make("p", { class: "large" }, "Nothing is remembered yet."),
    make("p", { class: "quiet" }, "A talk is looked at once it has been quiet for a while, or when you say a word on a reply."));
  $("buffer").replaceChildren(room, ...(groups.length === 0 ? [empty] : groups.map(group)));
  $("forget-all").hidden = groups.length === 0 && status?.generation === 0;
}

function group([domain, dialogues], index) {
  const id = `domain-${index}`;
  return make("section", { class: "domain", "aria-labelledby": id },
    make("h2", { id }, domain, " ",
      make("span", { class: "count" }, String(dialogues.length)),
      make("span", { class: "unseen" }, dialogues.length === 1 ? " dialogue" : " dialogues")),
    ...dialogues.map(remembered));
}

function remembered(dialogue) {
  const { id, messages, response, preferred } = dialogue;
  const question = messages.findLast(({ role }) => role === "user")?.content ?? "";
  const part = (who, text, kind) => text === null ? null
    : make("div", { class: kind }, make("p", { class: "who" }, who), words("p", text, { class: "text" }));
  const better = preferred !== null && preferred !== response ? preferred : null;
  return make("details", { class: "remembered" },
    make("summary", {}, make("span", { class: "line" },
      words("span", question, { class: "question" }), make("span", { class: "remark" }, word(dialogue)))),
    make("div", { class: "inside" },
      spoken(messages),
      part(better === null ? "The reply" : "The reply was", response, "reply"),
      part("You preferred", better, "reply better-one"),
      make("div", { class: "row" }, button("Delete", () => forget(id, question), {
        class: "danger", "aria-label": `Delete: ${question.slice(0, 80)}`,
      }))));
}

async function forget(id, question) {
  const yes = await confirmed({
    heading: "Delete this dialogue?",
    text: `“${question.slice(0, 120)}” and your word on it are erased. What was learned of it goes too: the model goes back to what it knew before and learns again from what remains. This cannot be undone.`,
    yes: "Delete",
  });
  if (!yes) return;
  await read("DELETE", `/v1/dialogues/${id}`).catch((error) => {
    if (error.status !== 404) throw error;
  });
  await afterForgetting("The dialogue is deleted.");
}

async function forgetAll() {
  const yes = await confirmed({
    heading: "Forget everything?",
    text: "All dialogues, all your answers and all that was learned of them are erased. The model is as on the first day. This cannot be undone.",
    yes: "Forget everything",
    word: "FORGET",
  });
  if (!yes) return;
  await read("DELETE", "/v1/dialogues");
  newTalk();
  await afterForgetting("Everything is forgotten.");
}

async function afterForgetting(text) {
  await showRemembered();
  note(text);
  setTimeout(() => { if ($("note").textContent === text) note(""); }, 6000);
  $("remembered-heading").focus();
  look();
}

pressed($("forget-all"), forgetAll);
