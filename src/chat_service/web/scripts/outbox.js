// A question on its way to the service.

import * as service from "./service.js";

const LONGEST = 1600; // milliseconds between two attempts

const newKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export class Outbox {
  #lost = null; // the question of which nobody knows whether it arrived

  // The same question after a failure has the same key: so it is asked once, even if it had arrived.
  async send(question, sessionId, signal) {
    const isSame = this.#lost?.question === question && this.#lost.sessionId === sessionId;
    const key = isSame ? this.#lost.key : newKey();
    this.#lost = { question, sessionId, key };
    try {
      const response = await this.#attempt(question, sessionId, key, signal);
      this.#lost = null;
      return response;
    } catch (error) {
      if (error.status) this.#lost = null;
      throw error;
    }
  }

  async #attempt(question, sessionId, key, signal) {
    for (let delay = LONGEST / 4; ; delay *= 2) {
      try {
        return await service.ask(question, sessionId, key, signal);
      } catch (error) {
        if (error.code !== "unreachable" || delay > LONGEST) throw error;
        await new Promise((resolve) => setTimeout(resolve, delay));
        signal.throwIfAborted();
      }
    }
  }
}
