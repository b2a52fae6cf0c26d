// A question in the transcript, which can be edited and sent again.

import { element, iconButton } from "./element.js";
import { copy } from "./clipboard.js";

export class Question {
  text = "";
  messageId = null;

  // `actions`: edit(question, text), fork(messageId).
  constructor(actions) {
    this.actions = actions;
    this.body = element("div", { className: "bubble" });
    this.bar = element("div", { className: "bar" });
    this.node = element("article", { className: "user", ariaLabel: "You" }, this.body, this.bar);
  }

  static asked(text, actions) {
    const made = new Question(actions);
    made.#show([text]);
    return made;
  }

  static stored(message, actions) {
    const made = new Question(actions);
    made.#show(message.content.filter((part) => "text" in part).map((part) => part.text));
    made.settle([message]);
    return made;
  }

  // Now it is stored, under an id.
  settle([message]) {
    this.messageId = message.message_id;
    const button = iconButton("copy", "Copy question", () => copy(this.text, button));
    this.bar.replaceChildren(
      iconButton("edit", "Edit and send again", () => this.#edit()),
      button,
      iconButton("fork", "Fork from here", () => this.actions.fork(this.messageId)),
    );
  }

  // What was selected on a page comes before the question itself.
  #show(texts) {
    this.text = texts.at(-1) ?? "";
    const marked = texts.slice(0, -1).map((text) => text.replace(/^<selected_text>\n|\n<\/selected_text>$/g, ""));
    this.body.replaceChildren(
      ...marked.map((text) => element("blockquote", { textContent: text })),
      element("p", { className: "text", textContent: this.text }),
    );
  }

  #edit() {
    const before = [...this.body.childNodes];
    const done = () => {
      this.node.classList.remove("editing");
      this.body.replaceChildren(...before);
      this.bar.querySelector("button").focus();
    };
    const field = element("textarea", { value: this.text, maxLength: 1000, ariaLabel: "Edit your question" });
    const form = element(
      "form",
      { className: "edit" },
      field,
      element("p", { className: "quiet", textContent: "What followed is forgotten. Fork first to keep it." }),
      element("div", { className: "actions" },
        element("button", { type: "button", className: "plain", textContent: "Cancel", onclick: done }),
        element("button", { className: "primary", textContent: "Send again" })),
    );
    field.onkeydown = (event) => {
      if (event.key === "Escape") done();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) form.requestSubmit();
      else if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      if (field.value.trim()) this.actions.edit(this, field.value.trim());
    };
    this.node.classList.add("editing");
    this.body.replaceChildren(form);
    field.focus();
  }
}
