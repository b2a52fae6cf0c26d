// An answer in the transcript: rendered blocks, with searches and tool calls between them, and what one can do with it.

import { element, iconButton } from "./element.js";
import { block, cite, setBlock } from "./blocks.js";
import { copy } from "./clipboard.js";
import { FeedbackBar } from "./feedback.js";
import { Search, ToolCall } from "./tools.js";
import { counted, lasting } from "./words.js";

export class Answer {
  messageId = null;
  text = "";
  passages = new Map(); // by number
  #blocks = []; // of the message that is being said
  #tools = new Map();
  #search = null;

  // `actions`: regenerate(answer), fork(messageId), rate(messageId, feedback), openSource(passages, number).
  constructor(actions) {
    this.actions = actions;
    this.parts = element("div", { className: "parts" });
    this.cited = element("ul", { className: "cited", ariaLabel: "Sources", hidden: true });
    this.bar = element("div", { className: "bar" });
    this.node = element("article", { className: "assistant", ariaLabel: "Answer" }, this.parts, this.cited, this.bar);
  }

  static stored(messages, feedback, actions) {
    const made = new Answer(actions);
    for (const message of messages) made.#addStored(message);
    made.settle(messages, feedback);
    return made;
  }

  // One event of the stream.
  show(event) {
    if (event.event === "response_chunk") this.text += event.text;
    if (event.event === "response_block") this.#setBlock(event.index, event.html);
    if (event.event === "tool_start") this.#addTool(event.tool_use_id, event.name, event.input);
    if (event.event === "tool_complete") this.#finishTool(event.tool_use_id, event.status, event.output);
    if (event.event === "retrieval_start") this.#startSearch(event.query);
    if (event.event === "retrieval_complete") this.#finishSearch(event.chunks, event.timings);
  }

  set waiting(isWaiting) {
    this.node.classList.toggle("waiting", isWaiting);
    if (isWaiting) return;
    this.#search?.abandon();
    for (const tool of this.#tools.values()) tool.abandon();
  }

  // Now it is stored: under an id, with what it has cost.
  settle(messages, feedback) {
    const last = messages.findLast((message) => message.role === "assistant");
    if (!last) return;
    this.#showCited();
    this.messageId = last.message_id;
    const said = messages.filter((message) => message.role === "assistant" && message.text);
    this.text = said.map((message) => message.text).join("\n\n");
    const button = iconButton("copy", "Copy answer", () => copy(this.text, button));
    const rate = (given) => this.actions.rate(this.messageId, given);
    this.bar.replaceChildren(
      button,
      iconButton("again", "Regenerate", () => this.actions.regenerate(this), { "data-last": "" }),
      iconButton("fork", "Fork from here", () => this.actions.fork(this.messageId)),
      new FeedbackBar(feedback.get(this.messageId), rate).node,
      element("span", { className: "figures", textContent: figures(messages) }),
    );
  }

  note(text, label, action) {
    this.waiting = false;
    const note = element("div", { className: "note" }, element("p", { textContent: text }));
    note.setAttribute("role", "alert");
    if (action) note.append(element("button", { type: "button", textContent: label, onclick: action }));
    this.node.insertBefore(note, this.bar);
  }

  #addStored(message) {
    if (message.passages.length) {
      this.#startSearch("");
      this.#finishSearch(message.passages);
    }
    if (message.html) this.#setBlock(0, message.html);
    this.#blocks = [];
    for (const part of message.content) {
      if (part.toolUse) this.#addTool(part.toolUse.toolUseId, part.toolUse.name, part.toolUse.input);
      if (part.toolResult) this.#finishTool(part.toolResult.toolUseId, part.toolResult.status, said(part.toolResult));
    }
  }

  #setBlock(index, html) {
    let target = this.#blocks[index];
    if (target) {
      setBlock(target, html);
    } else {
      target = this.#blocks[index] = block(html);
      this.parts.append(target);
    }
    cite(target, this.passages, (number) => this.#openSource(number));
  }

  #addTool(id, name, input) {
    this.#blocks = [];
    const call = new ToolCall(name, input);
    this.#tools.set(id, call);
    this.parts.append(call.node);
  }

  #finishTool(id, status, output) {
    this.#tools.get(id)?.finish(status, output);
    this.#blocks = [];
  }

  #startSearch(query) {
    this.#blocks = [];
    this.#search = new Search(query);
    this.parts.append(this.#search.node);
  }

  #finishSearch(passages, timings) {
    for (const passage of passages) this.passages.set(passage.number, passage);
    const open = (number) => this.#openSource(number);
    this.#search?.finish(passages, timings, open);
    this.#search = null;
    for (const each of this.parts.querySelectorAll(".block")) cite(each, this.passages, open);
  }

  // Below the answer: the passages that it cites. All that were found are in the fold above it.
  #showCited() {
    const numbers = new Set([...this.parts.querySelectorAll(".cite")].map((each) => Number(each.textContent)));
    const passages = [...this.passages.values()].filter((passage) => numbers.has(passage.number));
    this.cited.hidden = !passages.length;
    this.cited.replaceChildren(...passages.map((passage) => chip(passage, (number) => this.#openSource(number))));
  }

  #openSource(number) {
    this.actions.openSource(this.passages, number);
  }
}

function chip(passage, onOpen) {
  const name = passage.section_heading?.split(" › ").at(-1) || passage.source_file;
  const button = element(
    "button",
    { type: "button", title: passage.source_file, onclick: () => onOpen(passage.number) },
    element("span", { className: "number", textContent: passage.number }),
    element("span", { className: "name", textContent: name }),
  );
  return element("li", {}, button);
}

const said = (result) => result.content.map((part) => part.text ?? JSON.stringify(part)).join("\n");

function figures(messages) {
  const answers = messages.filter((message) => message.role === "assistant");
  const sum = (value) => answers.reduce((total, message) => total + (value(message) ?? 0), 0);
  const first = answers[0]?.time_to_first_token_ms;
  const latency = sum((message) => message.latency_ms);
  const tokens = sum((message) => message.usage?.output_tokens);
  const parts = [];
  if (first !== null && first !== undefined) parts.push(`${lasting(first)} to the first word`);
  if (latency) parts.push(lasting(latency));
  if (tokens) parts.push(counted(tokens, "token"));
  return parts.join(" · ");
}
