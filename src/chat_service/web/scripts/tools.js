// What stands folded between the words of an answer: tool calls, and searches in the documents.

import { element, icon } from "./element.js";
import { counted, lasting } from "./words.js";

function fold(iconName, name) {
  const state = element("span", { className: "state", textContent: "running" });
  const title = element("span", { className: "name", textContent: name });
  const node = element("details", { className: "fold" }, element("summary", {}, icon(iconName), title, state));
  return { node, title, state };
}

const part = (heading, text) => [
  element("h3", { textContent: heading }),
  element("pre", { textContent: text, tabIndex: 0 }),
];

export class ToolCall {
  #fold;

  constructor(name, input) {
    this.#fold = fold("tool", name);
    this.node = this.#fold.node;
    this.node.append(...part("Input", JSON.stringify(input, null, 2)));
  }

  finish(status, output) {
    const isDone = status === "success";
    this.#fold.state.textContent = isDone ? "done" : "failed";
    this.#fold.state.classList.toggle("failed", !isDone);
    this.node.append(...part("Output", output));
  }

  // Nobody will say any more how it ended.
  abandon() {
    if (this.#fold.state.textContent === "running") this.#fold.state.textContent = "stopped";
  }
}

export class Search {
  #fold;

  constructor(query) {
    this.#fold = fold("search", "Searching the documents");
    this.node = this.#fold.node;
    if (query) this.node.append(...part("Searched for", query));
  }

  finish(passages, timings, onOpen) {
    if (!passages.length) return this.node.remove(); // the answer says so itself
    const { title, state } = this.#fold;
    title.textContent = `Found ${counted(passages.length, "passage")}`;
    state.textContent = timings?.total === undefined ? "" : lasting(timings.total);
    this.node.append(element("ol", { className: "found" }, ...passages.map((each) => item(each, onOpen))));
  }

  abandon() {
    if (this.#fold.state.textContent === "running") this.#fold.state.textContent = "stopped";
  }
}

function item(passage, onOpen) {
  const name = [passage.source_file, passage.section_heading].filter(Boolean).join(" · ");
  const button = element("button", { type: "button", className: "link", textContent: name });
  button.onclick = () => onOpen(passage.number);
  return element("li", { value: passage.number }, button);
}
