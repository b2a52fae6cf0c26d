// The page: makes its parts and ties them together. Requests go down to the service, events come up from the
// conversation.

import * as address from "./address.js";
import { focusQuestion, giveBack, showRunning, watchComposer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { Conversations } from "./conversations.js";
import { askForTitle, confirmDeletion } from "./dialogs.js";
import { $, element } from "./element.js";
import { Inspector } from "./inspector.js";
import { watchKeyboard } from "./keyboard.js";
import { closePanel, isPanelOpen, togglePanel, watchPanel } from "./panel.js";
import { watchScrolling } from "./scrolling.js";
import * as service from "./service.js";
import { watchSignOut } from "./signin.js";
import { clearSources, showSources } from "./sources.js";
import { watchStatus } from "./status.js";
import { onTabs, tellTabs } from "./tabs.js";
import { watchTheme } from "./theme.js";
import { tell } from "./toast.js";

const conversation = new Conversation(showSources);
const conversations = new Conversations({ rename, remove, exportIt, shown, chosen: () => openDrawer(false) });
const inspector = new Inspector(() => exportIt({ session_id: conversation.id, title: conversation.title }));

// --- what the conversation tells ---

conversation.addEventListener("opened", () => {
  $("welcome").hidden = conversation.id !== null;
  conversations.current = conversation.id;
  inspector.open(conversation.id);
  clearSources();
  openDrawer(false);
});
conversation.addEventListener("named", () => {
  const title = conversation.title || (conversation.id ? "Untitled conversation" : "New conversation");
  $("title").textContent = document.title = title;
  $("rename").hidden = !conversation.id;
});
conversation.addEventListener("running", () => {
  showRunning(conversation.isRunning);
  if (conversation.isRunning) $("welcome").hidden = true;
});
conversation.addEventListener("changed", () => refresh());
conversation.addEventListener("refused", ({ detail }) => {
  giveBack(detail.question, detail.message);
  $("welcome").hidden = conversation.id !== null || conversation.isRunning;
});
conversation.addEventListener("created", ({ detail }) => {
  location.hash = address.linkTo(detail);
  tell("Forked. This is the copy.");
  tellTabs("listed");
});
conversation.addEventListener("left", openNew);

// What the service has called a conversation is known from the list.
function shown() {
  conversation.isNamed(conversations.titleOf(conversation.id));
}

let inspected = null;

async function refresh() {
  conversations.current = conversation.id;
  if (inspected === conversation.id) inspector.refresh();
  else inspector.open((inspected = conversation.id));
  await conversations.refresh();
}

// --- what the reader does ---

async function rename(session) {
  const title = await askForTitle(session.title);
  if (title === null) return;
  await reporting(async () => {
    if (session.session_id === conversation.id) await conversation.rename(title);
    else await service.renameSession(session.session_id, title);
    tellTabs("changed", session.session_id);
    await conversations.refresh();
  });
}

async function remove(session) {
  if (!(await confirmDeletion(session.title))) return;
  await reporting(async () => {
    await service.deleteSession(session.session_id).catch((error) => {
      if (error.status !== 404) throw error;
    });
    tellTabs("deleted", session.session_id);
    if (session.session_id === conversation.id) openNew();
    await conversations.refresh();
    tell("Deleted.");
    focusQuestion(false);
  });
}

async function exportIt(session) {
  await reporting(async () => {
    const url = URL.createObjectURL(await service.exportSession(session.session_id));
    element("a", { href: url, download: `${session.session_id.replace(/[^\w.-]+/g, "_")}.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    tell("Exported.");
  });
}

async function reporting(action) {
  try {
    await action();
  } catch (error) {
    tell(error.message);
  }
}

function openNew() {
  if (location.hash === "#/") route();
  else location.hash = "#/";
}

function openDrawer(isOpen) {
  document.body.classList.toggle("drawer-open", isOpen);
  $("menu").ariaExpanded = String(isOpen);
  $("shade").hidden = !isOpen;
  if (isOpen) $("close-sidebar").focus();
}

function closeOrStop() {
  if (document.body.classList.contains("drawer-open")) {
    openDrawer(false);
    $("menu").focus();
  } else if (conversation.isRunning) conversation.stop();
  else if (isPanelOpen()) closePanel();
}

// --- the address ---

function route() {
  const id = address.named();
  if (!id) {
    address.remember(null);
    conversation.openNew();
    focusQuestion(false);
  } else if (id !== conversation.id) conversation.open(id);
}

function begin() {
  const id = address.remembered();
  if (!id) return route();
  address.rename(id);
  conversation.open(id, false);
}

async function suggest() {
  const suggestions = await service.getSuggestions().catch(() => []);
  const ask = (question) => () => conversation.send(question);
  $("suggestions").replaceChildren(...suggestions.slice(0, 6).map((text) =>
    element("li", {}, element("button", { type: "button", textContent: text, onclick: ask(text) }))));
}

watchComposer((question) => conversation.send(question), () => conversation.stop());
watchScrolling(() => conversation.toNewest());
watchPanel();
watchTheme();
watchSignOut();
watchKeyboard({
  create: openNew,
  search: () => {
    if (matchMedia("(max-width: 47.99rem)").matches) openDrawer(true);
    $("search").select();
    $("search").focus();
  },
  focus: () => focusQuestion(),
  details: togglePanel,
  stop: closeOrStop,
});
watchStatus(() => {
  conversation.check();
  conversations.refresh();
});
onTabs(({ what, sessionId }) => {
  conversations.refresh();
  if (sessionId !== conversation.id) return;
  if (what === "deleted") openNew();
  else conversation.check();
});
$("new").onclick = openNew;
$("rename").onclick = () => rename({ session_id: conversation.id, title: conversation.title });
$("menu").onclick = () => openDrawer($("shade").hidden);
$("close-sidebar").onclick = () => openDrawer(false);
$("shade").onclick = () => openDrawer(false);
window.addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) conversation.check();
});

begin();
conversations.refresh();
suggest();
