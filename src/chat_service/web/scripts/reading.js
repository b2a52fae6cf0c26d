// An answer that is being read: shown as its events come, and read out sentence by sentence.

import { beginAnswer, endOfAnswer, hear } from "./announcer.js";
import { followEnd } from "./scrolling.js";
import { isLast } from "./stream.js";

// Resolves to how it ended, and whether events were missed; to null when the signal has ended the reading.
export async function readAnswer(events, answer, signal, onSession) {
  const batch = new Batch((waiting) => {
    if (signal.aborted) return;
    for (const event of waiting) answer.show(event);
    followEnd();
  });
  let ending = null;
  let gap = false;
  beginAnswer();
  for await (const event of events) {
    if (signal.aborted) return null;
    if (event.session_id) onSession(event.session_id);
    gap ||= event.gap;
    if (event.event === "response_chunk") hear(event.text);
    if (isLast(event)) ending = event;
    else batch.add(event);
  }
  batch.flush();
  endOfAnswer();
  answer.waiting = false;
  return { ending, gap };
}

// Events of which the first was taken already.
export async function* restOf(events, first) {
  yield first;
  if (!isLast(first)) yield* events;
}

// Hands on what has come in since the last frame, at once; blocks that were overtaken by then are left out.
class Batch {
  #apply;
  #waiting = [];
  #scheduled = false;

  constructor(apply) {
    this.#apply = apply;
  }

  add(event) {
    this.#waiting.push(event);
    if (this.#scheduled) return;
    this.#scheduled = true;
    const flush = () => this.flush();
    if (document.hidden) setTimeout(flush, 250);
    else requestAnimationFrame(flush);
  }

  flush() {
    this.#scheduled = false;
    const events = this.#waiting;
    this.#waiting = [];
    if (events.length) this.#apply(withoutOvertaken(events));
  }
}

function withoutOvertaken(events) {
  const newest = new Set();
  const kept = events.toReversed().filter((event) => {
    if (!["response_chunk", "response_block"].includes(event.event)) newest.clear(); // another message begins
    if (event.event !== "response_block") return true;
    if (newest.has(event.index)) return false;
    return newest.add(event.index);
  });
  return kept.reverse();
}
