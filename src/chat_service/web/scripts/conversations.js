// The list of conversations: by day, searched, renamed, deleted.

import { linkTo } from "./address.js";
import { $, element, iconButton } from "./element.js";
import { openMenu } from "./menu.js";
import * as service from "./service.js";
import { counted, dayOf, timeOf } from "./words.js";

export class Conversations {
  #sessions = [];
  #cursor = null;
  #words = "";
  #asked = 0; // counts requests, so that an answer that comes too late is dropped
  #current = null;

  // `actions`: rename(session), remove(session), exportIt(session), shown(), chosen().
  constructor(actions) {
    this.actions = actions;
    let typing = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#search(), 180);
    });
    $("search").addEventListener("keydown", (event) => this.#move(event));
    $("groups").addEventListener("keydown", (event) => this.#move(event));
    $("groups").addEventListener("click", (event) => event.target.closest("a") && actions.chosen());
    $("more").onclick = () => this.#load(this.#cursor);
  }

  set current(id) {
    this.#current = id;
    for (const link of $("groups").querySelectorAll("a")) mark(link, link.dataset.id === id);
  }

  refresh() {
    return this.#load(null);
  }

  titleOf(id) {
    return this.#sessions.find((session) => session.session_id === id)?.title;
  }

  #search() {
    this.#words = $("search").value.trim();
    return this.refresh();
  }

  async #load(cursor) {
    const asked = ++this.#asked;
    const page = await service.listSessions(this.#words, cursor).catch(() => null); // the status tells
    if (!page || asked !== this.#asked) return;
    const known = new Set(cursor ? this.#sessions.map((session) => session.session_id) : []);
    const fresh = page.sessions.filter((session) => !known.has(session.session_id));
    this.#sessions = cursor ? [...this.#sessions, ...fresh] : fresh;
    this.#cursor = page.next_cursor;
    this.#show();
    this.actions.shown();
  }

  #show() {
    const groups = Object.groupBy(this.#sessions, (session) => dayOf(session.last_accessed));
    const focused = document.activeElement?.closest("#groups a")?.dataset.id;
    $("groups").replaceChildren(...Object.entries(groups).map(([day, sessions]) => this.#group(day, sessions)));
    $("groups").querySelector(`a[data-id="${CSS.escape(focused ?? "")}"]`)?.focus();
    $("more").hidden = !this.#cursor;
    $("found").textContent = this.#summary();
  }

  #summary() {
    const count = this.#sessions.length;
    if (!this.#words) return count ? "" : "Your conversations will be listed here.";
    if (!count) return "Nothing found.";
    return counted(count, "conversation") + (this.#cursor ? " and more" : "");
  }

  #group(day, sessions) {
    const list = element("ul", { ariaLabel: day }, ...sessions.map((each) => this.#item(each)));
    return element("section", {}, element("h2", { textContent: day }), list);
  }

  #item(session) {
    const title = session.title || "Untitled conversation";
    const link = element(
      "a",
      { href: linkTo(session.session_id), title, dataset: { id: session.session_id } },
      element("span", { className: "name", textContent: title }),
      element("time", { dateTime: session.last_accessed, textContent: timeOf(session.last_accessed) }),
    );
    mark(link, session.session_id === this.#current);
    const { rename, exportIt, remove } = this.actions;
    const button = iconButton("more", `Actions for “${title}”`, () =>
      openMenu(button, [
        { name: "Rename", symbol: "edit", act: () => rename(session) },
        { name: "Export", symbol: "save", act: () => exportIt(session) },
        { name: "Delete", symbol: "bin", act: () => remove(session), isDangerous: true },
      ]), { "aria-haspopup": "menu" });
    return element("li", {}, link, button);
  }

  // Arrow keys lead from the search to the conversations and along them.
  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const stops = [$("search"), ...$("groups").querySelectorAll("a")];
    const index = stops.indexOf(document.activeElement);
    if (index < 0) return;
    event.preventDefault();
    stops[Math.min(Math.max(index + step, 0), stops.length - 1)].focus();
  }
}

function mark(link, isCurrent) {
  if (isCurrent) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}
