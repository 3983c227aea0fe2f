// What a person does with the page, step by step; `mock` is null where the server is a real one.

import { audit, checkTabs, must } from "./browser.mjs";

const HOSTILE = '<img src=x onerror="globalThis.ran=1"></script><script>globalThis.ran=1</script><b>bold</b> & &amp;';
const DONE = "#messages li.assistant:last-child:not([aria-busy])";

export async function go(page, name) {
  await page.locator("nav").getByRole("link", { name: new RegExp(name, "i") }).click();
  await page.locator(`#view-${name}`).waitFor();
  must(await page.locator("nav a[aria-current=page]").count() === 1, "one view is the current one");
}

/** Sends a message; gives the reply when it has ended. */
export async function ask(page, text, key = "Enter") {
  await page.locator("#box").fill(text);
  if (key) await page.locator("#box").press(key);
  else await page.locator("#send").click();
  await page.locator("#messages li.user").last().waitFor();
  await page.locator(`${DONE} .tools`).waitFor();
  return page.locator(`${DONE} .text`).textContent();
}

async function verdict(page) {
  await page.locator(`${DONE} .remark`, { hasText: /kept/i }).waitFor();
  return page.locator(`${DONE} .remark`).last().textContent();
}

async function token(page, { url, token: known }) {
  page.expected.push(/401/);
  await page.goto(url);
  if (known === null) return;
  const dialog = page.locator("#token");
  await dialog.waitFor();
  await audit(page, "the token's dialog");
  for (const text of ["another one", known]) {
    await page.getByLabel("Token").fill(text);
    await page.getByLabel("Token").press("Enter");
    if (text !== known) await page.getByText("does not know that token").waitFor();
  }
  await dialog.waitFor({ state: "hidden" });
  await page.waitForFunction(() => document.getElementById("trouble").hidden);
  page.expected.pop();
}

async function talks(page, { mock }) {
  await audit(page, "an empty talk");
  // How long the reply was, each time that it changed.
  await page.evaluate(() => {
    globalThis.lengths = new Set();
    new MutationObserver(() => {
      const text = document.querySelector("#messages li.assistant:last-child .text");
      if (text) globalThis.lengths.add(text.textContent.length);
    }).observe(document.getElementById("messages"), { childList: true, subtree: true, characterData: true });
  });
  await page.locator("#box").fill("Which tea");
  await page.locator("#box").press("Shift+Enter");
  await page.locator("#box").pressSequentially("suits a cold rainy day?");
  must((await page.locator("#box").inputValue()).includes("\n"), "Shift+Enter begins a line");
  await page.locator("#box").press("Enter");
  await page.locator(`${DONE} .tools`).waitFor();
  must(await page.evaluate(() => globalThis.lengths.size) > 2, "the reply comes in pieces");
  const reply = await page.locator(`${DONE} .text`).textContent();
  must((await page.locator("#said").textContent()) === reply, "the whole reply is read out, once");
  page.first = reply;
  await audit(page, "a reply");

  await page.getByRole("button", { name: "Better…" }).click();
  const box = page.getByLabel("A better reply");
  must((await box.inputValue()) === reply, "a better reply begins with the reply");
  await audit(page, "a better reply");
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Better…" }).click();
  await box.fill("Birch leaf tea, from Orla.");
  await page.getByRole("button", { name: "Save" }).click();
  must(/^In your words\. (Kept|Not kept)/.test(await verdict(page)), "the fate is told");
  must((await page.locator(`${DONE} .text`).textContent()) === "Birch leaf tea, from Orla.", "the talk has the better reply");

  const sent = page.waitForRequest(/chat\/completions/);
  await ask(page, "And with it?", null);
  const { messages } = (await sent).postDataJSON();
  must(messages.length === 3 && messages[1].content === "Birch leaf tea, from Orla.", "the talk goes on from the better reply");
  await page.getByRole("button", { name: "Good" }).click();
  must((await verdict(page)).startsWith("Good, you said."), "good is told");
  await audit(page, "a talk");
  await page.getByRole("button", { name: "New talk" }).click();
  must(await page.locator("#messages li").count() === 0, "a new talk is empty");
  must(await page.locator("#new-talk").isHidden(), "an empty talk needs no new one");
  if (mock) await mishaps(page, mock);
}

/** What a real server does seldom: it keeps nothing, it is stopped, it fails, it is busy, it is gone. */
async function mishaps(page, mock) {
  await ask(page, "Something DULL");
  await page.getByRole("button", { name: "Good" }).click();
  must((await verdict(page)).includes("Not kept: the buffer has better ones"), "what is not kept is told");

  page.expected.push(/ERR_ABORTED/);
  await page.locator("#box").fill("A LONG story");
  await page.locator("#box").press("Enter");
  await page.getByText("and so on, and so on,").waitFor();
  must(await page.locator("#send").isHidden(), "while it writes there is nothing to send");
  await audit(page, "while it writes");
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator(`${DONE} .remark`, { hasText: "Stopped here." }).waitFor();
  page.expected.pop();

  await page.locator("#box").fill("Please FAIL");
  await page.locator("#box").press("Enter");
  await page.getByText("The reply failed: the model stumbled.").waitFor();
  must((await page.locator("#box").inputValue()) === "Please FAIL", "the question comes back");
  await audit(page, "a reply that failed");
  await page.locator("#trouble-close").click();

  page.expected.push(/503/);
  mock.state.busy = Infinity;
  await page.locator("#box").fill("Are you busy?");
  await page.locator("#box").press("Enter");
  await page.getByText("The model is busy. Asking again in 1 second.").waitFor();
  mock.state.busy = 0;
  await page.locator(`${DONE} .tools`).waitFor();
  must((await page.locator("#note").textContent()) === "", "the note goes when it is over");
  page.expected.pop();

  page.expected.push(/ERR_FAILED/);
  await page.route("**/v1/chat/completions", (route) => route.abort());
  await page.locator("#box").fill("Are you there?");
  await page.locator("#box").press("Enter");
  await page.getByText("The server cannot be reached.").waitFor();
  await page.unroute("**/v1/chat/completions");
  page.expected.pop();
  await page.locator("#box").fill("");
  await page.getByRole("button", { name: "New talk" }).click();
}

/** What was corrected is said after a round, without a restart: of a real model. */
async function changes(page, { mock }) {
  if (mock) return "of a real model only";
  await go(page, "learned");
  const row = page.waitForResponse((it) => it.request().method() === "POST" && /rounds$/.test(it.url()), { timeout: 240_000 });
  await page.locator("#learn").click();
  const { installed, why } = await (await row).json();
  must(installed, `it learns from one correction: ${why}`);
  await page.locator("#outcome:not(:empty)").waitFor();
  await go(page, "talk");
  const after = await ask(page, "Which tea\nsuits a cold rainy day?", null);
  must(after !== page.first, `the next reply is another one: ${after}`);
  await page.getByRole("button", { name: "New talk" }).click();
  return `${page.first} -> ${after}`;
}

async function hostile(page) {
  await ask(page, HOSTILE);
  must((await page.locator("#messages li.user .text").last().textContent()) === HOSTILE, "a message is shown as it is");
  await page.getByRole("button", { name: "Better…" }).click();
  await page.getByLabel("A better reply").fill(HOSTILE);
  await page.getByRole("button", { name: "Save" }).click();
  await verdict(page);
  must((await page.locator(`${DONE} .text`).textContent()) === HOSTILE, "a reply is shown as it is");
  await audit(page, "hostile text in a talk");
  await go(page, "remembered");
  await page.locator("details.remembered, #buffer .empty").first().waitFor();
  for (const summary of await page.locator("details.remembered > summary").all()) await summary.click();
  await audit(page, "hostile text that is remembered");
}

async function asked(page, { mock }) {
  await go(page, "asked");
  const answers = [
    ["accept", () => page.getByRole("button", { name: "Accept" }).click()],
    ["better", async () => {
      await page.getByRole("button", { name: "Write a better one" }).click();
      await audit(page, "a better reply to what is asked");
      await page.getByLabel("A better reply").fill("Sorrel soup with rye, as at Orla's.");
      await page.getByRole("button", { name: "Save" }).click();
    }],
    ["skip", () => page.getByRole("button", { name: "Not now" }).click()],
  ];
  const given = [];
  for (let i = 0; i < 12; i += 1) {
    await page.locator("#asked-question, #asked-empty").first().waitFor();
    if (await page.locator("#asked-empty").isVisible()) break;
    if (i < 2) await audit(page, "what is asked");
    const [name, answer] = answers[i % answers.length];
    const sent = page.waitForResponse((it) => it.request().method() === "POST" && /annotations/.test(it.url()));
    const next = page.waitForResponse(/annotations\/next/);
    await answer();
    must((await sent).ok() || (await sent).status() === 404, "the answer is taken");
    await next;
    given.push(name);
    await page.waitForFunction(() => ["asked-question", "asked-empty"].includes(document.activeElement.id));
  }
  must(await page.getByText("Nothing is asked now.").isVisible(), "in the end nothing is asked");
  if (mock) must(given.length >= 3, `it was asked ${given.length} times`);
  await audit(page, "nothing asked");
  must(await page.locator("#open").isHidden() || !mock, "the badge is gone");
  return `answered: ${given.join(", ") || "none was asked"}`;
}

async function remembered(page) {
  await go(page, "remembered");
  const items = page.locator("details.remembered");
  await items.first().waitFor();
  const before = await items.count();
  await items.first().locator("summary").click();
  await audit(page, "a dialogue that is remembered");
  const remove = items.first().getByRole("button", { name: /^Delete/ });
  await remove.click();
  await page.locator("#confirm").getByText("What was learned of it goes too").waitFor();
  await audit(page, "before it deletes");
  await page.keyboard.press("Escape");
  must(await items.count() === before, "nothing is deleted without a yes");
  await remove.click();
  await page.locator("#confirm-yes").click();
  await page.getByText("The dialogue is deleted.").waitFor();
  must(await items.count() === before - 1, "one is deleted");
  await audit(page, "after it deleted");
  return `${before} dialogues, one deleted`;
}

async function learned(page, { mock }) {
  await go(page, "learned");
  await page.locator("#learned-summary:not(:empty)").waitFor();
  const rounds = page.locator(".round");
  const before = await rounds.count();
  await audit(page, "before it learns");
  const row = page.waitForResponse((it) => it.request().method() === "POST" && /rounds$/.test(it.url()), { timeout: 240_000 });
  if (mock) mock.state.hold = true;
  await page.locator("#learn").click();
  if (mock) {
    await page.getByText(/^Step \d+ of \d+ · about \d+ seconds? left · 48 °C$/).waitFor();
    await audit(page, "while it learns");
    mock.state.hold = false;
  } else {
    await page.locator("#progress").waitFor();
  }
  const { installed, why } = await (await row).json();
  must(await page.locator("#outcome").waitFor().then(() => true), "the outcome is told");
  await page.waitForFunction((count) => document.querySelectorAll(".round").length > count, before);
  must(await page.locator("#progress").isHidden(), "the progress is over");
  await page.waitForFunction(() => [...document.querySelectorAll(".plot")].every((plot) => plot.querySelector("svg")));
  const charts = await page.locator("svg.chart").evaluateAll((all) => all.map((it) =>
    [it.querySelector("title").textContent, it.querySelector("desc").textContent]));
  must(charts.length > 0 && charts.flat().every((text) => text.length > 10), `charts are described: ${charts}`);
  for (const summary of await page.locator(".numbers > summary").all()) await summary.click();
  must(await page.locator(".numbers td").count() >= charts.length, "the charts' numbers are there as tables");
  if (mock) must(charts.length === 3 && await page.locator(".pair").count() === 2, "charts and replies are shown");
  await audit(page, "after it learned");
  return `${charts.length} charts, ${installed ? "installed" : `kept aside: ${why}`}`;
}

async function keyboard(page) {
  await go(page, "talk");
  await page.goBack();
  must(page.url().endsWith("#learned") && await page.locator("#view-learned").isVisible(), "back goes to the view before");
  await page.goForward();
  await page.locator("#view-talk").waitFor();
  await checkTabs(page, ["Talk", "Asked", "Remembered", "Learned", "box", "send"]);
}

async function forgets(page) {
  await go(page, "remembered");
  await page.getByRole("button", { name: "Forget everything…" }).click();
  const yes = page.locator("#confirm-yes");
  await page.getByLabel("Type FORGET to go on").fill("forget it");
  must(await yes.isDisabled(), "only the word will do");
  await audit(page, "before it forgets");
  await page.getByLabel("Type FORGET to go on").fill("FORGET");
  await yes.click();
  await page.getByText("Everything is forgotten.").waitFor();
  await page.getByText("Nothing is remembered yet.").waitFor();
  await audit(page, "all is forgotten");
  await go(page, "learned");
  await page.locator("#learned-summary:not(:empty)").waitFor();
  await audit(page, "nothing is learned");
}

export const STEPS = { token, talks, changes, hostile, asked, remembered, learned, keyboard, forgets };
