// Charts: small SVG figures, each with a title, a description and a table of the same numbers.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const EDGE = { top: 14, right: 14, bottom: 34, left: 44 };

function svg(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Round numbers from 0 to what is at least `most`. */
function ticks(most) {
  const rough = Math.max(most, 1e-9) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

/** At most eight of the numbers along the bottom, the last one among them. */
function thinned(all) {
  const every = Math.ceil(all.length / 8);
  return all.filter((_, i) => (all.length - 1 - i) % every === 0);
}

/**
 * Draws on `width` pixels: the frame, and what `marks` gives for the two scales.
 * `along` are the places on the horizontal axis, `most` the highest value.
 */
function drawn(width, { id, title, description, along, axis, most, marks }) {
  const root = svg("svg", {
    width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", class: "chart",
    "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-description`,
  });
  const heights = ticks(most);
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const [first, last] = [along[0], along.at(-1)];
  const x = (at) => EDGE.left + inner.width * (first === last ? 0.5 : 0.04 + 0.92 * (at - first) / (last - first));
  const y = (value) => EDGE.top + inner.height * (1 - value / heights.at(-1));
  root.append(svg("title", { id: `${id}-title` }, title), svg("desc", { id: `${id}-description` }, description));
  const digits = Math.max(0, -Math.floor(Math.log10(heights[1])));
  for (const value of heights) {
    root.append(
      svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value), class: value === 0 ? "base" : "grid" }),
      svg("text", { x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(digits)));
  }
  for (const at of thinned(along)) {
    root.append(svg("text", { x: x(at), y: HEIGHT - EDGE.bottom + 16, "text-anchor": "middle" }, String(at)));
  }
  root.append(svg("text", { x: width - EDGE.right, y: HEIGHT - 3, "text-anchor": "end", class: "axis" }, axis));
  root.append(...marks(x, y));
  return root;
}

/** A line through points {at, value}. */
function line(points) {
  return (x, y) => [
    svg("polyline", { points: points.map(({ at, value }) => `${x(at)},${y(value)}`).join(" "), class: "line" }),
    ...points.map(({ at, value }) => svg("circle", { cx: x(at), cy: y(value), r: 3, class: "after" })),
  ];
}

/** From a hollow dot to a full one, at each {at, before, after}. */
function spans(points) {
  return (x, y) => points.flatMap(({ at, before, after }) => [
    svg("line", { x1: x(at), x2: x(at), y1: y(before), y2: y(after), class: "line" }),
    svg("circle", { cx: x(at), cy: y(before), r: 4.5, class: "before" }),
    svg("circle", { cx: x(at), cy: y(after), r: 4.5, class: "after" }),
  ]);
}

const redraw = new ResizeObserver((entries) => {
  for (const { target } of entries) target.draw();
});

/** A figure that is drawn anew as wide as its place is; `head` and `rows` are the table. */
function figure(chart, caption, head, rows) {
  const place = make("div", { class: "plot" });
  place.draw = () => {
    const width = Math.floor(place.clientWidth);
    if (width < 120 || width === place.drawnAt) return;
    place.drawnAt = width;
    place.replaceChildren(drawn(width, chart));
  };
  redraw.observe(place);
  const cells = (tag, row, attributes) => row.map((cell) => make(tag, attributes, String(cell)));
  const table = make("table", {},
    make("caption", { class: "unseen" }, chart.title),
    make("thead", {}, make("tr", {}, ...cells("th", head, { scope: "col" }))),
    make("tbody", {}, ...rows.map(([first, ...rest]) =>
      make("tr", {}, make("th", { scope: "row" }, String(first)), ...cells("td", rest, {})))));
  return make("figure", {},
    make("figcaption", {}, make("h2", {}, chart.title), make("p", { class: "quiet" }, caption)),
    place,
    make("details", { class: "numbers" }, make("summary", {}, "Numbers", make("span", { class: "unseen" }, ` of: ${chart.title}`)), table));
}
