// The panel on the right with its two tabs. On narrow screens it lies over the conversation.

import { $ } from "./element.js";

const TABS = ["session", "sources"];
const OPEN = "panel-open";
let returnTo = null;

export const isPanelOpen = (tab) => !$("panel").hidden && (!tab || !$(tab).hidden);

export function openPanel(tab, focus = true) {
  if ($("panel").hidden) returnTo = document.activeElement;
  $("panel").hidden = false;
  $("panel-button").ariaExpanded = "true";
  document.body.classList.add(OPEN);
  choose(tab);
  if (focus) $(`tab-${tab}`).focus();
}

export function closePanel() {
  if ($("panel").hidden) return;
  const hadFocus = $("panel").contains(document.activeElement);
  $("panel").hidden = true;
  $("panel-button").ariaExpanded = "false";
  document.body.classList.remove(OPEN);
  localStorage.removeItem(OPEN);
  if (hadFocus) (returnTo?.isConnected ? returnTo : $("panel-button")).focus();
}

function choose(tab) {
  for (const name of TABS) {
    $(name).hidden = name !== tab;
    $(`tab-${name}`).ariaSelected = String(name === tab);
    $(`tab-${name}`).tabIndex = name === tab ? 0 : -1;
  }
  if (tab === "session") localStorage.setItem(OPEN, "yes");
  $("panel").dispatchEvent(new Event("shown"));
}

export function togglePanel() {
  if (isPanelOpen()) closePanel();
  else openPanel("session");
}

export function watchPanel() {
  $("panel-button").onclick = togglePanel;
  $("close-panel").onclick = closePanel;
  for (const name of TABS) {
    $(`tab-${name}`).onclick = () => choose(name);
    $(`tab-${name}`).onkeydown = (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = TABS.find((each) => each !== name);
      choose(other);
      $(`tab-${other}`).focus();
    };
  }
  if (localStorage.getItem(OPEN) && matchMedia("(min-width: 75rem)").matches) openPanel("session", false);
}
