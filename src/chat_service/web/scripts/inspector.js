// What the open session is made of. It reads only while it can be seen.

import { chart } from "./chart.js";
import { $, element, icon } from "./element.js";
import { MetadataEditor } from "./metadata.js";
import { isPanelOpen } from "./panel.js";
import * as service from "./service.js";
import { tree } from "./tree.js";
import { counted, lasting } from "./words.js";

const LIVE = 5000; // milliseconds between two looks at the metadata

const section = (title, ...children) => element("section", {}, element("h3", { textContent: title }), ...children);
const empty = (text) => element("p", { className: "quiet", textContent: text });

export class Inspector {
  #id = null;

  // `onExport()`.
  constructor(onExport) {
    this.metadata = new MetadataEditor(
      async (key, value) => (await service.setMetadata(this.#id, { [key]: value })).metadata,
      async (key) => (await service.deleteMetadata(this.#id, key)).metadata,
    );
    const part = (name) => [name, element("div", { className: name })];
    this.parts = Object.fromEntries(["figures", "times", "agents"].map(part));
    const summary = element("summary", { textContent: "Show the stored document" });
    this.document = element("details", { className: "document" }, summary);
    this.document.ontoggle = () => this.#showDocument();
    const button = { type: "button", className: "wide-button", onclick: onExport };
    this.made = element("div", { className: "made" },
      section("In short", this.parts.figures),
      section("Times", this.parts.times),
      section("Metadata", this.metadata.node),
      section("Agents", this.parts.agents),
      section("Stored", this.document, element("button", button, icon("save"), " Export as JSON Lines")),
    );
    $("panel").addEventListener("shown", () => this.refresh());
    setInterval(() => this.#showMetadata(), LIVE);
  }

  open(id) {
    this.#id = id;
    $("session").replaceChildren(id ? this.made : empty("A session begins with the first question."));
    this.document.open = false;
    for (const part of Object.values(this.parts)) part.replaceChildren();
    this.metadata.show({});
    this.refresh();
  }

  async refresh() {
    if (!this.#isSeen()) return;
    await Promise.all([this.#showActivity(), this.#showMetadata(), this.#showDocument()]);
  }

  #isSeen() {
    return this.#id && isPanelOpen("session") && !document.hidden;
  }

  async #of(request, show) {
    const id = this.#id;
    try {
      const found = await request(id);
      if (id === this.#id) show(found);
    } catch {
      // The connection's status tells; what is shown stays.
    }
  }

  async #showMetadata() {
    if (this.#isSeen()) await this.#of(service.getMetadata, ({ metadata }) => this.metadata.show(metadata));
  }

  async #showDocument() {
    if (!this.document.open) return;
    await this.#of(service.getDocument, (stored) => {
      this.document.querySelector(".tree")?.remove();
      this.document.append(tree(stored, true));
    });
  }

  async #showActivity() {
    await this.#of(service.getActivity, ({ agents, totals, turns, last_turn: last }) => {
      this.parts.figures.replaceChildren(figures(this.#id, totals, turns, last));
      this.parts.times.replaceChildren(turns.length ? chart(turns) : empty("No answer yet."));
      this.parts.agents.replaceChildren(...(agents.length ? agents.map(agent) : [empty("None yet.")]));
    });
  }
}

function figures(id, totals, turns, last) {
  const number = (name) => (totals[name] ?? 0).toLocaleString("en");
  const rows = {
    Session: element("code", { textContent: id }),
    Tokens: `${number("total_tokens")} (${number("input_tokens")} in, ${number("output_tokens")} out)`,
    "Model calls": number("model_calls"),
    "Average latency": lasting(totals.average_latency_ms),
    "First word, last turn": lasting(turns.at(-1)?.time_to_first_token_ms),
    "Database, last turn": last ? inWords(last) : "not known here",
  };
  return element("dl", {}, ...Object.entries(rows).map(([name, value]) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", {}, value))));
}

const inWords = ({ commands, milliseconds }) => `${counted(commands, "command")}, ${lasting(milliseconds)}`;

function agent({ agent_id: id, message_count: count, state, totals }) {
  const tokens = totals?.total_tokens;
  const words = [counted(count, "message"), ...(tokens ? [counted(tokens, "token")] : [])].join(", ");
  const isStateless = !state || !Object.keys(state).length;
  return element("div", { className: "agent" },
    element("h4", { textContent: id }),
    element("p", { className: "quiet", textContent: words }),
    isStateless ? element("p", { className: "quiet", textContent: "Its state is empty." }) : tree(state));
}
