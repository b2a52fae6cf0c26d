// The passages that an answer rests on.

import { SERVICE } from "./address.js";
import { $, element } from "./element.js";
import { openPanel } from "./panel.js";
import { counted } from "./words.js";

export function showSources(passages, number) {
  openPanel("sources", false);
  const shown = [...passages.values()].map((each) => passage(each, each.number === number));
  $("sources").replaceChildren(
    element("p", { className: "quiet", textContent: `${counted(passages.size, "passage")} found for this answer.` }),
    element("ol", { className: "passages" }, ...shown),
  );
  const chosen = $("sources").querySelector("[aria-current]");
  chosen?.scrollIntoView({ block: "nearest" });
  chosen?.focus();
}

export function clearSources() {
  const words = "Numbers in an answer, and the names below it, open the passages that it rests on.";
  $("sources").replaceChildren(element("p", { className: "quiet", textContent: words }));
}

function passage(found, isChosen) {
  const number = element("span", { className: "number", textContent: found.number });
  const score = ` · fits ${Math.round(found.similarity_score * 100)} %`;
  const node = element(
    "li",
    { value: found.number, tabIndex: -1 },
    element("h3", {}, number, found.section_heading || found.source_file),
    element("p", { className: "quiet", textContent: found.source_file + score }),
    element("meter", { min: 0, max: 1, value: found.similarity_score, ariaLabel: "Score" }),
    element("blockquote", { textContent: flowing(found.excerpt) }),
    link(found),
  );
  if (isChosen) node.setAttribute("aria-current", "true");
  return node;
}

// Lines that only the width of their file has broken are one again; lists, tables and short lines stay.
const flowing = (text) => text.replace(/(\S.{59,})\n(?=[^\s\-*+|#>`\d])/g, "$1 ");

// To a page of the web, or of the service itself.
function link({ link: target }) {
  const url = target && URL.parse(target, SERVICE || location.origin);
  if (!["http:", "https:"].includes(url?.protocol)) return null;
  return element("a", { href: url, target: "_blank", rel: "noopener noreferrer", textContent: "Open the document" });
}
