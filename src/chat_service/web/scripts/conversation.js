// The open conversation: opened, asked, stopped, changed. It tells the transcript what to show, and everybody else, by
// events, what has happened:
//   opened, named (title), running (a turn began or ended), changed (something of it was stored),
//   refused (detail: {question, message}), created, left

import * as address from "./address.js";
import { say } from "./announcer.js";
import { $ } from "./element.js";
import { Outbox } from "./outbox.js";
import { readAnswer, restOf } from "./reading.js";
import { followEnd, toEnd } from "./scrolling.js";
import * as service from "./service.js";
import { follow } from "./stream.js";
import { tellTabs } from "./tabs.js";
import { Transcript } from "./transcript.js";
import { endingOf, trouble } from "./words.js";

export class Conversation extends EventTarget {
  id = null;
  title = "";
  #visit = new AbortController(); // ends when another conversation is opened
  #reading = null; // AbortController of the answer that is being read
  #opening = Promise.resolve();
  #outbox = new Outbox();

  constructor(openSource) {
    super();
    this.transcript = new Transcript(
      {
        edit: (question, text) => this.resend(question, text),
        regenerate: (answer) => this.#regenerate(answer),
        fork: (messageId) => this.#reporting(() => this.fork(messageId)),
        rate: (messageId, feedback) => this.#rate(messageId, feedback),
        openSource,
      },
      (offset, limit) => this.#load(offset, limit),
    );
  }

  get isRunning() {
    return this.#reading !== null;
  }

  // --- opening ---

  openNew() {
    this.#leave(null);
    this.#name("");
    this.#tell("opened");
  }

  open(id, isWish = true) {
    const signal = this.#leave(id);
    this.#tell("opened");
    this.#opening = this.#show(signal, isWish).catch((error) => this.#refuseToOpen(error, signal, isWish));
    return this.#opening;
  }

  reload() {
    return this.open(this.id);
  }

  #leave(id) {
    this.#visit.abort(); // the answer itself goes on, and is stored
    this.#visit = new AbortController();
    this.#endReading(this.#reading);
    this.transcript.clear();
    this.id = id;
    return this.#visit.signal;
  }

  async #show(signal) {
    const [session, { feedback }, turn] = await Promise.all([
      service.getSession(this.id),
      service.getFeedback(this.id),
      service.getTurn(this.id),
    ]);
    if (signal.aborted) return;
    this.#name(session.title);
    address.remember(this.id);
    this.transcript.feedback = new Map(feedback.map((each) => [each.message_id, each]));
    if (turn.running && (await this.join(turn.turn_id))) return;
    const { messages } = await this.#showNewest(turn.running ? null : session);
    const last = messages.at(-1);
    if (last && !(last.role === "assistant" && last.kind === "text")) this.#showInterrupted();
    this.#tell("changed");
  }

  #refuseToOpen(error, signal, isWish) {
    if (signal.aborted || error.name === "AbortError") return;
    const isGone = [404, 422].includes(error.status); // 422: it cannot even be the name of one
    if (isGone && !isWish) return this.#tell("left");
    const { answer } = this.transcript.begin(null);
    answer.note(
      isGone ? "This conversation does not exist, or was deleted." : trouble(error),
      isGone ? "New conversation" : "Try again",
      () => (isGone ? this.#tell("left") : this.reload()),
    );
  }

  #showInterrupted() {
    const question = this.transcript.lastQuestion;
    const { answer } = this.transcript.begin(null);
    answer.note("This answer was interrupted.", "Ask again", () => question && this.resend(question, question.text));
    toEnd();
  }

  async #load(offset, limit) {
    const { signal } = this.#visit;
    const page = await service.listMessages(this.id, offset, limit).catch((error) => this.#refuse(null, error));
    return signal.aborted ? null : page;
  }

  // --- asking ---

  async send(question) {
    if (this.isRunning) return;
    const reading = this.#beginReading();
    await this.#opening;
    if (reading.signal.aborted) return;
    if (!this.transcript.isAtNewest) await this.#showNewest();
    const { asked, answer } = this.transcript.begin(question);
    toEnd();
    try {
      const response = await this.#outbox.send(question, this.id, reading.signal);
      await this.#follow(follow(response, this.id, reading.signal), asked, answer, reading);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.transcript.remove(asked, answer);
      this.#endReading(reading);
      this.#refuse(question, error);
      if (error.code === "session_busy") this.check();
    }
  }

  // Forgets a question and what followed, and asks another one in its place.
  async resend(question, text) {
    if (this.isRunning) return;
    await this.#reporting(async () => {
      if (!question.messageId) return this.#refuse(text, new Error("This question is not stored. Send it again."));
      await service.rewindSession(this.id, question.messageId);
      this.transcript.cutFrom(question);
      await this.send(text);
    });
  }

  #regenerate(answer) {
    const question = this.transcript.before(answer);
    if (question) this.resend(question, question.text);
  }

  // What was said so far is kept. When the service cannot be asked to stop, at least the reading ends.
  async stop() {
    const reading = this.#reading;
    if (!reading) return;
    if (!this.id) return reading.abort(new Error("The question was not sent."));
    try {
      await service.cancelTurn(this.id);
    } catch (error) {
      this.#endReading(reading);
      this.#refuse(null, error);
    }
  }

  // --- reading ---

  // Whether another tab or person is asking in this conversation, or has done so.
  async check() {
    if (!this.id || this.isRunning) return;
    const { signal } = this.#visit;
    try {
      const { running, turn_id: turnId } = await service.getTurn(this.id);
      if (signal.aborted || this.isRunning) return;
      if (running) await this.join(turnId);
      else await this.#catchUp();
    } catch {
      // The connection's status tells what the reader can do about it.
    }
  }

  // Reads an answer that somebody else has asked for; false when it is over already.
  async join(turnId) {
    const reading = this.#beginReading();
    try {
      const response = await service.readOn(this.id, turnId ? `${turnId}-0` : "0", reading.signal);
      if (!response) return this.#endReading(reading);
      const events = follow(response, this.id, reading.signal);
      const { value: first } = await events.next(); // by now the question is stored
      const session = await service.getSession(this.id);
      if (reading.signal.aborted) return true;
      const asked = session.messages.findLastIndex((message) => message.kind === "text" && message.role === "user");
      const messages = session.messages.slice(0, asked + 1);
      await this.transcript.show({ messages, offset: session.offset, total: session.offset + messages.length });
      const { answer } = this.transcript.begin(null);
      toEnd();
      this.#follow(restOf(events, first), null, answer, reading, session.offset + asked);
      return true;
    } catch (error) {
      if (error.name === "AbortError") return true;
      this.#endReading(reading);
      throw error;
    }
  }

  async #follow(events, asked, answer, reading, questionAt = null) {
    const read = await readAnswer(events, answer, reading.signal, (id) => this.#adopt(id));
    if (!read) return;
    this.#endReading(reading);
    await this.#settle(read, asked, answer, questionAt);
  }

  async #settle({ ending, gap }, asked, answer, questionAt) {
    const { signal } = this.#visit;
    const page = await service.listMessages(this.id, questionAt ?? this.transcript.end, 200).catch(() => null);
    if (signal.aborted) return;
    if (page && questionAt !== null) this.transcript.end = questionAt;
    if (!page || gap || ending.event === "lost" || !this.transcript.settle(page.messages, asked, answer)) {
      if (page) return this.reload();
    }
    this.#showEnding(ending, answer);
    this.#tell("changed");
    tellTabs("changed", this.id);
  }

  #showEnding(ending, answer) {
    const words = endingOf(ending);
    const question = this.transcript.before(answer);
    const again = () => question && this.resend(question, question.text);
    if (ending.event === "error") answer.note(words, "Ask again", again);
    else if (words) answer.note(words);
    followEnd();
  }

  // --- changing ---

  async fork(messageId) {
    const made = await service.forkSession(this.id, messageId);
    this.dispatchEvent(new CustomEvent("created", { detail: made.session_id }));
    say("Forked. This is the copy.");
  }

  async rename(title) {
    this.#name((await service.renameSession(this.id, title)).title);
    this.#tell("changed");
  }

  async #rate(messageId, feedback) {
    await service.addFeedback(this.id, { ...feedback, message_id: messageId });
    this.transcript.feedback.set(messageId, feedback);
  }

  // --- within ---

  #beginReading() {
    this.#reading?.abort();
    this.#reading = new AbortController();
    this.#showRunning();
    return this.#reading;
  }

  #endReading(reading) {
    reading?.abort();
    if (reading !== this.#reading) return false;
    this.#reading = null;
    this.#showRunning();
    return false;
  }

  #showRunning() {
    $("log").ariaBusy = String(this.isRunning);
    this.#tell("running");
  }

  // The first answer names the session; the address follows without opening it anew.
  #adopt(id) {
    tellTabs("asked", id);
    if (this.id === id) return;
    this.id = id;
    address.rename(id);
    this.#tell("changed");
  }

  async #catchUp() {
    const shown = this.transcript.total;
    const { total } = await service.listMessages(this.id, shown, 1);
    if (total !== shown && shown === this.transcript.total && !this.isRunning) await this.reload();
  }

  async #showNewest(known = null) {
    const { signal } = this.#visit;
    const session = known ?? (await service.getSession(this.id));
    if (signal.aborted) return { messages: [] };
    await this.transcript.show({ ...session, total: session.offset + session.messages.length });
    return session;
  }

  async toNewest() {
    if (!this.transcript.isAtNewest) await this.#reporting(() => this.#showNewest());
    toEnd();
  }

  #name(title) {
    this.title = title ?? "";
    this.#tell("named");
  }

  // The service has given it one.
  isNamed(title) {
    if (title && title !== this.title) this.#name(title);
  }

  async #reporting(action) {
    try {
      await action();
    } catch (error) {
      this.#refuse(null, error);
    }
  }

  #refuse(question, error) {
    this.dispatchEvent(new CustomEvent("refused", { detail: { question, message: trouble(error) } }));
    return null;
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}
