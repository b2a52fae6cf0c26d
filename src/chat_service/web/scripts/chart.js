// Times of the newest turns as bars: until the first word, and until the end. Attributes only, no style.

import { element, svg } from "./element.js";
import { lasting, timeOf } from "./words.js";

const HEIGHT = 96;
const BAR = 10;
const STEP = 14;

export function chart(turns) {
  const most = Math.max(...turns.map((turn) => turn.latency_ms ?? 0), 1);
  const width = Math.max(turns.length * STEP, 20 * STEP);
  const picture = svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": summary(turns) },
    svg("line", { x1: 0, x2: width, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5, class: "axis" }),
    ...turns.map((turn, index) => bars(turn, index, most)),
  );
  const legend = element(
    "p",
    { className: "quiet legend" },
    element("span", { className: "first", textContent: "first word" }),
    element("span", { className: "whole", textContent: "whole answer" }),
    element("span", { textContent: `highest ${lasting(most)}` }),
  );
  return element("figure", {}, picture, legend, table(turns));
}

function bars(turn, index, most) {
  const part = (value, name) => {
    const height = value ? Math.max(((HEIGHT - 4) * value) / most, 2) : 0;
    return svg("rect", { x: index * STEP + 2, y: HEIGHT - 1 - height, width: BAR, height, rx: 2, class: name });
  };
  const title = svg("title", {});
  title.textContent = `${timeOf(turn.created_at)}: ${inWords(turn)}`;
  return svg("g", {}, title, part(turn.latency_ms, "whole"), part(turn.time_to_first_token_ms, "first"));
}

const inWords = (turn) =>
  `first word after ${lasting(turn.time_to_first_token_ms)}, all after ${lasting(turn.latency_ms)}`;

const summary = (turns) => `Times of ${turns.length} answers; the newest: ${inWords(turns.at(-1))}`;

// The same for whoever does not see bars.
function table(turns) {
  const row = (kind, cells) => element("tr", {}, ...cells.map((cell) => element(kind, { textContent: cell })));
  const rows = turns.toReversed().map((turn) => {
    const times = [turn.time_to_first_token_ms, turn.latency_ms].map(lasting);
    return row("td", [timeOf(turn.created_at), ...times, turn.output_tokens ?? "–"]);
  });
  const head = element("thead", {}, row("th", ["At", "First word", "All", "Tokens"]));
  const made = element("table", {}, head, element("tbody", {}, ...rows));
  const frame = element("div", { className: "wide", tabIndex: 0 }, made);
  return element("details", {}, element("summary", { textContent: "As a table" }), frame);
}
