// Keys that work everywhere on the page. All but Escape need Ctrl or ⌘, so that nobody meets them by accident.

import { $, element } from "./element.js";

const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
const MAIN = isMac ? "⌘" : "Ctrl";

const SHORTCUTS = [
  { keys: [MAIN, "Shift", "O"], what: "New conversation", name: "create" },
  { keys: [MAIN, "K"], what: "Search conversations", name: "search" },
  { keys: [MAIN, "J"], what: "Write a question", name: "focus" },
  { keys: [MAIN, "I"], what: "Session details", name: "details" },
  { keys: [MAIN, "/"], what: "This list", name: "help" },
  { keys: ["Esc"], what: "Stop the answer, or close what is open", name: "stop" },
];

const DESCRIBED = [
  { keys: ["Enter"], what: "Send" },
  { keys: ["Shift", "Enter"], what: "New line" },
  { keys: ["↑", "↓"], what: "Move along the conversations, from the search" },
];

// `actions` has a function for each name.
export function watchKeyboard(actions) {
  $("shortcuts").replaceChildren(...[...SHORTCUTS, ...DESCRIBED].flatMap(line));
  const help = () => $("help").open || $("help").showModal();
  $("help-button").onclick = help;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) return;
    const found = SHORTCUTS.find(({ keys }) => isPressed(event, keys));
    if (!found || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    ({ ...actions, help })[found.name]();
  });
}

function isPressed(event, keys) {
  const key = { Esc: "escape" }[keys.at(-1)] ?? keys.at(-1).toLowerCase();
  const isMain = isMac ? event.metaKey : event.ctrlKey;
  if (event.altKey || event.key.toLowerCase() !== key) return false;
  return isMain === keys.includes(MAIN) && (key === "/" || event.shiftKey === keys.includes("Shift"));
}

const line = ({ keys, what }) => [
  element("dt", { textContent: what }),
  element("dd", {}, ...keys.map((key) => element("kbd", { textContent: key }))),
];
