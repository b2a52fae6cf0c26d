// A block of a rendered answer, with what the page adds to it: copy buttons, room for wide tables, citations.

import { element, iconButton } from "./element.js";
import { copy } from "./clipboard.js";
import { setRendered } from "./rendered.js";

export function block(html) {
  const made = element("div", { className: "block" });
  setBlock(made, html);
  return made;
}

export function setBlock(made, html) {
  setRendered(made, html);
  for (const code of made.querySelectorAll("pre")) wrapCode(code);
  for (const table of made.querySelectorAll("table")) wrapTable(table);
}

// `[2]` becomes a button where there is a second passage.
export function cite(made, passages, onOpen) {
  if (!passages.size) return;
  const walker = document.createTreeWalker(made, NodeFilter.SHOW_TEXT, (node) =>
    /\[\d+\]/.test(node.data) && !node.parentElement.closest("pre, code, a, button")
      ? NodeFilter.FILTER_ACCEPT
      : NodeFilter.FILTER_SKIP,
  );
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (const text of texts) text.replaceWith(...text.data.split(/\[(\d+)\]/).map(partOf(passages, onOpen)));
}

const partOf = (passages, onOpen) => (part, index) => {
  if (index % 2 === 0) return part;
  const passage = passages.get(Number(part));
  if (!passage) return `[${part}]`;
  const label = `Source ${part}: ${passage.section_heading || passage.source_file}`;
  const properties = { type: "button", className: "cite", title: label, ariaLabel: label, textContent: part };
  return element("button", { ...properties, onclick: () => onOpen(Number(part)) });
};

function wrapCode(code) {
  code.tabIndex = 0;
  const frame = element("div", { className: "code-frame" });
  code.replaceWith(frame);
  const [, language = "text"] = code.firstElementChild?.className.match(/language-(\S+)/) ?? [];
  const button = iconButton("copy", "Copy code", () => copy(code.textContent.replace(/\n$/, ""), button));
  frame.append(element("div", { className: "code-head" }, element("span", { textContent: language }), button), code);
}

function wrapTable(table) {
  const frame = element("div", { className: "wide", tabIndex: 0 });
  table.replaceWith(frame);
  frame.append(table);
}
