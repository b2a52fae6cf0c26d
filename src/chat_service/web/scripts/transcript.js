// The messages that are shown: a window on the conversation, by pages, so that a long one costs no more than a short.

import { Answer } from "./answer.js";
import { $ } from "./element.js";
import { Question } from "./question.js";
import { keepingPlace, toEnd } from "./scrolling.js";

export const PAGE = 100; // messages
const MOST = 4 * PAGE; // that are kept in the page
const SLICE = 16; // messages that are put in between two frames
const NEAR = 6; // entries at the end that are laid out at once, so that the end is where it seems to be

const isQuestion = (message) => message.kind === "text" && message.role === "user";
const nextFrame = () =>
  new Promise((resolve) => (document.hidden ? setTimeout(resolve) : requestAnimationFrame(resolve)));

export class Transcript {
  #entries = []; // {start, size, view}
  #log = $("log");
  #loading = false;
  #opened = 0; // counts what has been shown or asked, so that a page that comes too late is dropped
  start = 0; // the first message that is shown
  end = 0; // the one after the last
  total = 0;
  feedback = new Map();

  // `load(offset, limit)` resolves to a page of messages, or null when it is of no use any more.
  constructor(actions, load) {
    this.actions = actions;
    this.load = load;
    const watcher = new IntersectionObserver(
      (seen) => seen.filter((each) => each.isIntersecting).forEach((each) => each.target.click()),
      { root: $("scroller"), rootMargin: "800px 0px" },
    );
    $("earlier").onclick = () => this.#addEarlier();
    $("later").onclick = () => this.#addLater();
    watcher.observe($("earlier"));
    watcher.observe($("later"));
  }

  get isAtNewest() {
    return this.end >= this.total;
  }

  get lastQuestion() {
    return this.#entries.findLast(({ view }) => view instanceof Question)?.view ?? null;
  }

  clear() {
    this.#opened += 1;
    this.#log.replaceChildren();
    this.#entries = [];
    this.start = this.end = this.total = 0;
    this.#showEnds();
  }

  // The newest messages of a conversation.
  async show({ messages, offset, total }) {
    this.clear();
    this.start = this.end = this.total = total;
    await this.#insertAbove(messages, offset);
    this.#showEnds();
  }

  // A question that has just been asked, and its answer.
  begin(text) {
    this.#opened += 1; // nothing else comes in between
    const asked = text === null ? null : Question.asked(text, this.actions);
    const answer = new Answer(this.actions);
    for (const view of [asked, answer]) if (view) this.#add(view);
    answer.waiting = true;
    return { asked, answer };
  }

  remove(...views) {
    this.#entries = this.#entries.filter(({ view }) => !views.includes(view));
    for (const view of views) view?.node.remove();
  }

  // A question and all that came after it.
  cutFrom(view) {
    const index = this.#entries.findIndex((entry) => entry.view === view);
    const [first] = this.#entries.slice(index);
    this.remove(...this.#entries.slice(index).map((entry) => entry.view));
    this.end = this.total = first.start;
  }

  before(view) {
    return this.#entries[this.#entries.findIndex((entry) => entry.view === view) - 1]?.view;
  }

  // What the store made of the newest turn; false when it is something else than what is shown.
  settle(messages, asked, answer) {
    const turns = turnsOf(messages);
    if (turns.length !== 1 || !isQuestion(messages[0])) return false;
    if (asked && asked.text !== Question.stored(messages[0], this.actions).text) return false;
    const question = asked ?? this.lastQuestion;
    question?.settle(messages);
    answer.settle(messages.slice(1), this.feedback);
    this.#place(question, this.end, 1);
    this.#place(answer, this.end + 1, messages.length - 1);
    this.end += messages.length;
    this.total = this.end;
    return true;
  }

  #place(view, start, size) {
    Object.assign(this.#entries.find((entry) => entry.view === view) ?? {}, { start, size });
  }

  async #addEarlier() {
    const from = Math.max(0, this.start - PAGE);
    await this.#alone(from, this.start - from, async (messages) => {
      await this.#insertAbove(messages, from);
      const dropped = this.#entries.filter((entry) => entry.start - this.start >= MOST);
      if (!dropped.length || dropped.at(-1).size === 0) return; // an answer that is being written stays
      this.end = dropped[0].start;
      this.remove(...dropped.map(({ view }) => view));
    });
  }

  async #addLater() {
    await this.#alone(this.end, PAGE, async (messages) => {
      const kept = this.end + messages.length < this.total ? wholeTurns(messages) : messages;
      await this.#insertBelow(kept, this.end);
      const dropped = this.#entries.filter((entry) => this.end - entry.start > MOST);
      this.start += dropped.reduce((size, entry) => size + entry.size, 0);
      keepingPlace(this.#entries[dropped.length]?.view.node, () => this.remove(...dropped.map(({ view }) => view)));
    });
  }

  async #alone(offset, limit, use) {
    if (this.#loading || limit <= 0) return;
    this.#loading = true;
    const opened = this.#opened;
    try {
      const page = await this.load(offset, limit);
      if (page && opened === this.#opened) await use(page.messages);
    } finally {
      this.#loading = false;
      this.#showEnds();
    }
  }

  // In slices, so that the page stays alive. Above what is shown the newest comes first: so the reader sees the end of
  // a conversation at once, and his place stays where it is.
  async #insertAbove(messages, offset) {
    const isFirst = !this.#entries.length;
    const kept = offset > 0 ? fromFirstQuestion(messages) : messages;
    const start = offset + messages.length - kept.length;
    for await (const made of this.#made(slicesOf(turnsOf(kept)).reverse(), start)) {
      const anchor = this.#entries[0]?.view.node ?? null;
      keepingPlace(anchor, () => this.#log.insertBefore(fragmentOf(made), anchor));
      this.#entries.unshift(...made);
      this.start = made[0].start;
      if (isFirst && !anchor) {
        for (const { view } of made.slice(-NEAR)) view.node.classList.add("near");
        toEnd();
      }
    }
  }

  async #insertBelow(messages, start) {
    for await (const made of this.#made(slicesOf(turnsOf(messages)), start)) {
      this.#log.append(fragmentOf(made));
      this.#entries.push(...made);
      this.end = made.at(-1).start + made.at(-1).size;
    }
  }

  // One slice a frame, until something else is shown.
  async *#made(slices, start) {
    const opened = this.#opened;
    for (const [index, turns] of slices.entries()) {
      if (index > 0) await nextFrame();
      if (opened !== this.#opened) return;
      yield turns.flatMap(({ offset, messages }) => this.#views(messages, start + offset));
    }
  }

  #views(messages, start) {
    const [first, ...rest] = messages;
    if (!isQuestion(first)) {
      return [{ start, size: messages.length, view: Answer.stored(messages, this.feedback, this.actions) }];
    }
    const asked = { start, size: 1, view: Question.stored(first, this.actions) };
    return rest.length ? [asked, ...this.#views(rest, start + 1)] : [asked];
  }

  #add(view) {
    this.#entries.push({ start: this.end, size: 0, view });
    view.node.classList.add("near");
    this.#log.append(view.node);
  }

  #showEnds() {
    $("earlier").hidden = this.start === 0;
    $("later").hidden = this.isAtNewest;
  }
}

function fragmentOf(entries) {
  const fragment = document.createDocumentFragment();
  fragment.append(...entries.map(({ view }) => view.node));
  return fragment;
}

// Each turn begins with a question; what stands before the first one belongs to a turn of an earlier page.
function turnsOf(messages) {
  const turns = [];
  for (const [offset, message] of messages.entries()) {
    if (isQuestion(message) || !turns.length) turns.push({ offset, messages: [] });
    turns.at(-1).messages.push(message);
  }
  return turns;
}

function slicesOf(turns) {
  const slices = [];
  let size = SLICE;
  for (const turn of turns) {
    if (size >= SLICE) {
      slices.push([]);
      size = 0;
    }
    slices.at(-1).push(turn);
    size += turn.messages.length;
  }
  return slices;
}

function fromFirstQuestion(messages) {
  return messages.slice(Math.max(0, messages.findIndex(isQuestion)));
}

function wholeTurns(messages) {
  const last = messages.findLastIndex(isQuestion);
  return last > 0 ? messages.slice(0, last) : messages;
}
