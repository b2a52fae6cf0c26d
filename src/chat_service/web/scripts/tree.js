// A value as a tree that unfolds. What is folded is not made before it is opened.

import { element } from "./element.js";
import { counted } from "./words.js";

const MOST = 200; // members of one level that are shown at once

export function tree(value, isOpen = false) {
  return element("div", { className: "tree" }, node(null, value, isOpen));
}

function node(name, value, isOpen = false) {
  const key = name === null ? [] : [element("span", { className: "key", textContent: name }), ": "];
  if (value === null || typeof value !== "object") {
    const text = JSON.stringify(value);
    return element("div", {}, ...key, element("span", { className: kindOf(value), textContent: text }));
  }
  const members = Object.entries(value);
  if (!members.length) {
    const text = JSON.stringify(value);
    return element("div", {}, ...key, element("span", { className: "null", textContent: text }));
  }
  const words = Array.isArray(value) ? ["entry", "entries"] : ["field", "fields"];
  const size = element("span", { className: "size", textContent: counted(members.length, ...words) });
  const fold = element("details", {}, element("summary", {}, ...key, size));
  const fill = () => fold.childElementCount === 1 && fold.append(...more(members));
  fold.addEventListener("toggle", fill);
  if (isOpen) {
    fill();
    fold.open = true;
  }
  return fold;
}

function more(members) {
  const shown = members.slice(0, MOST).map(([name, value]) => node(name, value));
  const rest = members.slice(MOST);
  if (!rest.length) return shown;
  const words = `Show ${counted(rest.length, "more", "more")}`;
  const button = element("button", { type: "button", className: "plain", textContent: words });
  button.onclick = () => button.replaceWith(...more(rest));
  return [...shown, button];
}

const kindOf = (value) => (value === null ? "null" : typeof value);
