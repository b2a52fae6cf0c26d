// What a reader thinks of an answer: a thumb at once, then a reason and a comment if he likes. It can be changed.

import { element, iconButton } from "./element.js";
import { tell } from "./toast.js";

const REASONS = { up: ["Correct", "Clear", "Well founded"], down: ["Wrong", "Incomplete", "Unclear", "Off topic"] };

export class FeedbackBar {
  #given;
  #rate;

  // `rate` stores what is given and resolves when that is done.
  constructor(given, rate) {
    this.#given = given ?? { rating: "neutral" };
    this.#rate = rate;
    this.thumbs = {
      up: iconButton("good", "Good answer", () => this.#press("up")),
      down: iconButton("bad", "Bad answer", () => this.#press("down")),
    };
    this.node = element("span", { className: "feedback" }, this.thumbs.up, this.thumbs.down);
    this.form = null;
    this.#show();
  }

  #show() {
    this.node.classList.toggle("given", this.#given.rating !== "neutral");
    for (const [rating, thumb] of Object.entries(this.thumbs)) {
      thumb.ariaPressed = String(this.#given.rating === rating);
    }
  }

  // The same thumb again takes it back.
  async #press(rating) {
    this.#close();
    const isSame = this.#given.rating === rating;
    if (await this.#give({ rating: isSame ? "neutral" : rating })) {
      if (isSame) tell("Taken back.");
      else this.#ask(rating);
    }
  }

  async #give(given) {
    try {
      await this.#rate(given);
    } catch (error) {
      tell(error.message);
      return false;
    }
    this.#given = given;
    this.#show();
    return true;
  }

  #ask(rating) {
    const comment = element("textarea", { maxLength: 2000, rows: 2, ariaLabel: "Comment", placeholder: "Comment" });
    const reasons = REASONS[rating].map((reason) =>
      element("label", {}, element("input", { type: "radio", name: "reason", value: reason }), reason));
    const legend = element("legend", { textContent: rating === "up" ? "What was good?" : "What was wrong?" });
    this.form = element(
      "form",
      { className: "why", ariaLabel: "Why?" },
      element("fieldset", {}, legend, ...reasons),
      comment,
      element("div", { className: "actions" },
        element("button", { type: "button", className: "plain", textContent: "Skip", onclick: () => this.#close() }),
        element("button", { className: "primary", textContent: "Send feedback" })),
    );
    this.form.onsubmit = async (event) => {
      event.preventDefault();
      const reason = new FormData(this.form).get("reason");
      const said = comment.value.trim();
      const given = { rating, ...(reason && { reason }), ...(said && { comment: said }) };
      if (!(await this.#give(given))) return;
      this.#close();
      tell("Thank you.");
    };
    this.node.closest("article").append(this.form);
    this.form.querySelector("input").focus();
  }

  #close() {
    if (this.form?.contains(document.activeElement)) this.thumbs[this.#given.rating]?.focus();
    this.form?.remove();
    this.form = null;
  }
}
