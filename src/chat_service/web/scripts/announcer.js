// Reads an answer out while it is written: whole sentences, never single words.

import { $, element } from "./element.js";

const SENTENCE = /[^]*?[.!?:](?=\s|$)["”)\]]*\s+|[^]*?\n{2,}/y;
const KEPT = 20; // sentences in the page

let rest = "";

// What was left of one that was not read to its end is forgotten.
export function beginAnswer() {
  rest = "";
}

export function hear(text) {
  rest += text;
  let end = 0;
  SENTENCE.lastIndex = 0;
  for (let found; (found = SENTENCE.exec(rest)); end = SENTENCE.lastIndex) say(found[0]);
  rest = rest.slice(end);
}

export function endOfAnswer() {
  say(rest);
  rest = "";
}

export function say(text) {
  const plain = text.replace(/[*_`#>|]+|\[(\d+)\]/g, " ").replace(/\s+/g, " ").trim();
  if (!plain) return;
  const spoken = $("spoken");
  spoken.append(element("p", { textContent: plain }));
  while (spoken.childElementCount > KEPT) spoken.firstChild.remove();
}
