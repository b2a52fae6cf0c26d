// Whether the service can be reached, as requests found it; while it cannot, it is looked for.

import { SERVICE } from "./address.js";

const PATIENCE = 20_000; // milliseconds of looking before we call it offline
const WATCH = 30_000; // between two looks while nothing else is asked
const WORDS = { online: "Online", reconnecting: "Reconnecting", offline: "Offline", busy: "Server busy" };

class Connection extends EventTarget {
  state = "online";
  #lostAt = 0;
  #tries = 0;
  #timer = 0;

  get word() {
    return WORDS[this.state];
  }

  reached() {
    this.#tries = 0;
    if (this.state !== "busy") this.#become("online", WATCH);
  }

  lost() {
    if (this.#tries === 0) this.#lostAt = Date.now();
    const isOffline = !navigator.onLine || Date.now() - this.#lostAt > PATIENCE;
    const delays = [400, 800, 1500, 3000];
    this.#become(isOffline ? "offline" : "reconnecting", delays[this.#tries] ?? 4000);
    this.#tries += 1;
  }

  // The service answers, but has too much to do, or has lost its database.
  busy(seconds) {
    this.#become("busy", Math.min(Math.max(seconds, 1), 30) * 1000);
  }

  // Resolves when the service has been reached again, or the signal ends the wait.
  restored(signal) {
    if (this.state === "online") return Promise.resolve();
    return new Promise((resolve) => {
      const look = () => {
        if (this.state !== "online" && !signal.aborted) return;
        this.removeEventListener("change", look);
        resolve();
      };
      this.addEventListener("change", look);
      signal.addEventListener("abort", look);
    });
  }

  async look() {
    clearTimeout(this.#timer);
    try {
      const response = await fetch(`${SERVICE}/readyz`, { cache: "no-store", signal: AbortSignal.timeout(10_000) });
      if (!response.ok) return this.busy(2);
      this.#tries = 0;
      this.#become("online", WATCH);
    } catch {
      this.lost();
    }
  }

  #become(state, milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lookWhenSeen(), milliseconds);
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }

  #lookWhenSeen() {
    if (!document.hidden) this.look();
  }
}

export const connection = new Connection();

window.addEventListener("online", () => connection.look());
window.addEventListener("offline", () => connection.lost());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connection.look();
});
