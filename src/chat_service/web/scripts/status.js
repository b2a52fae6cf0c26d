// The connection in words: a mark at the bottom of the list, and a line above the conversation when there is trouble.

import { connection } from "./connection.js";
import { $, element } from "./element.js";

const ADVICE = {
  reconnecting: "The service does not answer. Looking for it…",
  offline:
    "The service cannot be reached. Check your network and that the service is running; nothing stored is lost.",
  busy: "The service has more to do than it can, or has lost its database. It is asked again in a moment.",
};

export function watchStatus(onRestored) {
  const show = () => {
    const { state, word } = connection;
    $("status").dataset.state = state;
    $("status-word").textContent = word;
    const advice = ADVICE[state];
    $("trouble").hidden = !advice;
    $("trouble").dataset.state = state;
    if (!advice) return onRestored();
    $("trouble").replaceChildren(
      element("p", { textContent: advice }),
      element("button", { type: "button", textContent: "Try now", onclick: () => connection.look() }),
    );
  };
  connection.addEventListener("change", show);
  connection.look();
}
