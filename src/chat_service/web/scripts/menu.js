// A small menu beside the button that opens it.

import { $, element, icon } from "./element.js";

const menu = $("actions");
let opener = null;

// `items`: {name, symbol, act, isDangerous?}
export function openMenu(button, items) {
  opener = button;
  menu.ariaLabel = button.ariaLabel;
  menu.replaceChildren(...items.map(item));
  menu.showPopover();
  place(button.getBoundingClientRect());
  menu.firstChild.focus();
}

function item({ name, symbol, act, isDangerous }) {
  const button = element("button", { type: "button", tabIndex: -1 }, icon(symbol), name);
  button.setAttribute("role", "menuitem");
  button.classList.toggle("dangerous", Boolean(isDangerous));
  button.onclick = () => {
    close();
    act();
  };
  return button;
}

function place({ right, bottom, top }) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  menu.style.left = `${Math.max(8, Math.min(right - width, innerWidth - width - 8))}px`;
  menu.style.top = `${bottom + height + 8 > innerHeight ? Math.max(8, top - height - 4) : bottom + 4}px`;
}

function close() {
  menu.hidePopover();
  opener?.focus();
}

menu.addEventListener("keydown", (event) => {
  const items = [...menu.children];
  const index = items.indexOf(document.activeElement);
  const next = { ArrowDown: index + 1, ArrowUp: index - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
  if (next === undefined && !["Escape", "Tab"].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  if (next === undefined) close();
  else items[next % items.length].focus();
});
