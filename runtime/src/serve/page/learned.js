// Learned: what each round made of what was remembered.

/** A number as a person reads it; a dash where there is none. */
function figured(number, digits = 2) {
  return number === null || number === undefined ? "–" : number.toFixed(digits);
}

function change(before, after) {
  return before === null && after === null ? "–" : `${figured(before)} → ${figured(after)}`;
}

async function showLearned() {
  const { data } = await read("GET", "/v1/rounds");
  const latest = data.at(-1);
  $("learned-summary").textContent = data.length === 0
    ? "It has not learned yet. Say a word on some replies first."
    : `It has learned ${data.length === 1 ? "once" : counted(data.length, "time")}.`;
  const withCurve = data.findLast(({ curve }) => curve.length > 0);
  const withReplies = data.findLast(({ replies }) => replies.length > 0);
  $("charts").replaceChildren(...[rouge(data), ...(withCurve ? curves(withCurve) : [])].filter((chart) => chart !== null));
  $("replies").replaceChildren(...(withReplies ? [compared(withReplies)] : []));
  $("rounds").replaceChildren(...(latest ? [listed(data)] : []));
}

/** How many rounds a chart has room for. */
const CHARTED = 24;

/** ROUGE-1 before and after, over the latest rounds. */
function rouge(rows) {
  const points = rows
    .filter(({ rouge1_before: before, rouge1_after: after }) => before !== null && after !== null)
    .map(({ round, rouge1_before: before, rouge1_after: after }) => ({ at: round, before, after }))
    .slice(-CHARTED);
  if (points.length === 0) return null;
  const last = points.at(-1);
  return figure({
    id: "rouge",
    title: "Nearness to what you wanted, by round",
    description: `ROUGE-1 before and after each of ${counted(points.length, "round")}; in round ${last.at} from ${figured(last.before)} to ${figured(last.after)}.`,
    along: points.map(({ at }) => at),
    axis: "round",
    most: Math.max(...points.flatMap(({ before, after }) => [before, after]), 0.1),
    marks: spans(points),
  }, "ROUGE-1: the words that a reply shares with the wanted one. Hollow before, full after. Higher is better.",
  ["Round", "Before", "After"],
  points.map(({ at, before, after }) => [at, figured(before), figured(after)]));
}

/** The losses of a round by epoch: on what was held out, and on general dialogues. */
function curves({ round, curve, loss_before: loss, general_before: general }) {
  const all = curve[0].epoch === 0 ? curve : [{ epoch: 0, loss, general }, ...curve];
  const one = (name, title, what, caption) => {
    const points = all
      .filter((point) => typeof point[name] === "number")
      .map((point) => ({ at: point.epoch, value: point[name] }));
    if (points.length === 0) return null;
    return figure({
      id: `curve-${name}`,
      title,
      description: `${what} of round ${round}, from ${figured(points[0].value)} before to ${figured(points.at(-1).value)} after epoch ${points.at(-1).at}.`,
      along: points.map(({ at }) => at),
      axis: "epoch",
      most: Math.max(...points.map(({ value }) => value)),
      marks: line(points),
    }, caption, ["Epoch", "Loss"], points.map(({ at, value }) => [at, figured(value, 3)]));
  };
  return [
    one("loss", `Loss on your dialogues, round ${round}`, "The loss on your dialogues", "On dialogues held out of learning, or, where none were, on those it learned from. Lower is better."),
    one("general", `Loss on other dialogues, round ${round}`, "The loss on general dialogues", "On general dialogues: how much it forgets of the rest. Level is good."),
  ];
}

/** The same questions before and after a round. */
function compared({ round, replies }) {
  const part = (name, text, kind) => make("div", { class: kind },
    make("p", { class: "who" }, name), words("p", text === "" ? "(nothing)" : text, { class: "text" }));
  return make("section", { "aria-labelledby": "replies-heading" },
    make("h2", { id: "replies-heading" }, `Before and after round ${round}`),
    ...replies.map(({ question, wanted, before, after, held_out: held }) =>
      make("article", { class: "panel pair" },
        words("h3", question),
        make("div", { class: "sides" }, part("Before", before, "side"), part("After", after, "side after")),
        part("You wanted", wanted, "wanted"),
        held ? make("p", { class: "remark" }, "Held out: it did not learn this one.") : null)));
}

/** How many rounds are shown at once. */
const SHOWN = 5;

/** All rounds, the newest first. */
function listed(rows) {
  const list = (rows) => make("ol", { class: "rounds", reversed: true, start: String(rows[0].round) }, ...rows.map(listedRound));
  const newest = rows.toReversed();
  const older = newest.slice(SHOWN);
  return make("section", { "aria-labelledby": "rounds-heading" },
    make("h2", { id: "rounds-heading" }, "Rounds"),
    list(newest.slice(0, SHOWN)),
    older.length === 0 ? null : make("details", { class: "older" },
      make("summary", {}, counted(older.length, "older round")), list(older)));
}

function listedRound(row) {
  const when = new Date(row.at * 1000);
  const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  const time = make("time", { datetime: when.toISOString() },
    when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
  return make("li", { class: "panel round" },
    make("div", { class: "round-head" }, make("h3", {}, `Round ${row.round}`), time),
    make("p", { class: row.installed ? "fate installed" : "fate aside" }, fate(row)),
    make("dl", {},
      fact("Learned from", counted(row.learned_from, "dialogue")),
      fact("Synthesised", String(row.synthesised)),
      fact("Steps", String(row.steps)),
      // Less than all of it where all would have harmed the rest.
      typeof row.share === "number" && row.share < 1 ? fact("Taken of it", `${Math.round(row.share * 100)} %`) : null,
      fact("Loss", change(row.loss_before, row.loss_after)),
      fact("General loss", change(row.general_before, row.general_after)),
      fact("ROUGE-1", change(row.rouge1_before, row.rouge1_after))));
}

/** What became of a round. */
function fate({ installed, why, generation }) {
  if (installed) return generation === null ? "Installed" : `Installed as generation ${generation}`;
  return why === null ? "Kept aside" : `Kept aside: ${why}`;
}

/** Whether a round goes on that the person began here. */
let learning = false;

async function learn() {
  $("outcome").hidden = true;
  learning = true;
  const ended = call("POST", "/v1/rounds").then((response) => response.json());
  setTimeout(look, 300);
  try {
    const row = await ended;
    $("outcome").textContent = row.installed
      ? "It has learned: the next reply is written with it." : `${fate(row)}.`;
    $("outcome").hidden = false;
    say($("outcome").textContent);
  } catch (error) {
    // A connection may be cut while the round goes on.
    if (!error.gone || (await look())?.phase !== "round") throw error;
  } finally {
    await look();
    learning = false;
  }
  await showLearned();
}

/** Shows the progress of a round, and what waits for the next one. */
function showProgress(now) {
  const busy = now.phase === "round";
  $("progress").hidden = !busy;
  $("learn").hidden = busy;
  $("learn-state").textContent = busy ? "It is learning." : now.new_annotations === 0
    ? "Nothing new to learn from since the last round."
    : `${counted(now.new_annotations, "new answer")} of yours to learn from.`;
  if (!busy) return;
  $("progress-bar").max = Math.max(now.steps, 1);
  $("progress-bar").value = now.step;
  $("progress-text").textContent = [
    now.steps === 0 ? "Preparing" : `Step ${now.step} of ${now.steps}`,
    now.seconds_left === null || now.seconds_left === undefined ? null : `about ${left(now.seconds_left)} left`,
    now.degrees === null || now.degrees === undefined ? null : `${Math.round(now.degrees)} °C`,
  ].filter((part) => part !== null).join(" · ");
}

function left(seconds) {
  return seconds < 90 ? counted(Math.round(seconds), "second") : counted(Math.round(seconds / 60), "minute");
}

pressed($("learn"), learn);
