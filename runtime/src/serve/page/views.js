// The views by the hash of the address, and how the server stands.

const VIEWS = {
  talk: { title: "Talk", show: showTalking },
  asked: { title: "Asked", show: showAsked },
  remembered: { title: "Remembered", show: showRemembered },
  learned: { title: "Learned", show: showLearned },
};

let view = null;
let status = null;
let timer = 0;
let looks = 0;

function route() {
  const asked = location.hash.slice(1);
  const first = view === null;
  view = Object.hasOwn(VIEWS, asked) ? asked : "talk";
  for (const name of Object.keys(VIEWS)) $(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[view].title} – Homespun`;
  if (!first) $(`${view}-heading`).focus({ preventScroll: true });
  scrollTo(0, view === "talk" ? document.body.scrollHeight : 0);
  guarded(VIEWS[view].show);
}

/** Asks how the server stands: each second while it learns, else now and then. */
async function look() {
  clearTimeout(timer);
  let wait = 15000;
  looks += 1;
  const turn = looks;
  try {
    const response = await call("GET", "/v1/status");
    const now = await response.json();
    // Of two that were asked at once, the older one may come last.
    if (turn !== looks) return status;
    const ended = status?.phase === "round" && now.phase !== "round";
    status = now;
    showProgress(now);
    $("open").hidden = now.open_requests === 0;
    $("open-number").textContent = String(now.open_requests);
    if (now.phase === "round") wait = 1000;
    // One that began by itself; one that the person began is told by `learn`.
    if (ended && view === "learned" && !learning) guarded(showLearned);
    return now;
  } catch (error) {
    // Who does without the token is not asked for it again and again.
    if (error.denied) wait = null;
    // A server that is gone is told where the person wants something of it.
    if (!error.gone) trouble(error.message);
    return null;
  } finally {
    if (turn === looks && wait !== null) timer = setTimeout(look, wait);
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else look();
});
addEventListener("hashchange", route);

route();
look();
