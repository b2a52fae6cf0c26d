// The metadata of a session: each key with its value as JSON, to be changed, added and deleted.

import { element, iconButton } from "./element.js";

// Text that is JSON is that value; everything else is text.
function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// What comes back as it was: a text that looks like JSON, or has several lines, has its quotation marks.
function asText(value) {
  const isPlain = typeof value === "string" && valueOf(value) === value && !/[\r\n]/.test(value);
  return isPlain ? value : JSON.stringify(value);
}

export class MetadataEditor {
  #metadata = null;

  // `set(key, value)` and `remove(key)` store it and resolve to the metadata as it is then.
  constructor(set, remove) {
    this.set = set;
    this.remove = remove;
    this.list = element("dl", { className: "metadata" });
    this.empty = element("p", { className: "quiet", textContent: "None yet." });
    this.trouble = element("p", { className: "trouble", attributes: { role: "alert" } });
    this.node = element("div", {}, this.empty, this.list, this.#newEntry(), this.trouble);
  }

  // Nothing moves under a reader who is writing.
  show(metadata) {
    const isSame = JSON.stringify(metadata) === JSON.stringify(this.#metadata);
    if (isSame || this.list.contains(document.activeElement)) return;
    this.#metadata = metadata;
    this.list.replaceChildren(...Object.entries(metadata).flatMap(([key, value]) => this.#entry(key, value)));
    this.empty.hidden = this.list.childElementCount > 0;
  }

  #entry(key, value) {
    const field = element("input", { value: asText(value), ariaLabel: `Value of ${key}`, autocomplete: "off" });
    field.onchange = () => this.#store(() => this.set(key, valueOf(field.value)));
    field.onkeydown = (event) => event.key === "Enter" && field.blur();
    const button = iconButton("bin", `Delete ${key}`, () => this.#store(() => this.remove(key)));
    return element("div", {}, element("dt", { textContent: key, title: key }), element("dd", {}, field, button));
  }

  #newEntry() {
    const key = element("input", { placeholder: "Key", ariaLabel: "New key", required: true, autocomplete: "off" });
    const value = element("input", { placeholder: "Value", ariaLabel: "New value", autocomplete: "off" });
    const form = element("form", { className: "new-entry" }, key, value, element("button", { textContent: "Add" }));
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (!(await this.#store(() => this.set(key.value.trim(), valueOf(value.value))))) return;
      form.reset();
      key.focus();
    };
    return form;
  }

  async #store(change) {
    this.trouble.textContent = "";
    try {
      const metadata = await change();
      document.activeElement.closest(".metadata") && document.activeElement.blur();
      this.show(metadata);
      return true;
    } catch (error) {
      this.trouble.textContent = error.message;
      return false;
    }
  }
}
