// The page: one conversation at a time, named by the address (#/session_…).

import * as api from "./api.js";
import * as view from "./view.js";

const $ = (id) => document.getElementById(id);
const question = $("question");

let current = null; // id of the open session, null before the first question
let visit = 0; // counts openings, so that what belongs to an earlier one is dropped
let reading = null; // AbortController of the answer that is being read
let listed = []; // sessions in the sidebar
let cursor = null; // of their next page
let offset = 0; // messages of the open session that are not shown yet

// --- conversations ---------------------------------------------------------------------------------------------------

async function refreshSessions() {
  try {
    const page = await api.listSessions();
    listed = page.sessions;
    cursor = page.next_cursor;
    showSessions();
  } catch {
    // The list is a convenience; what matters says itself in the conversation.
  }
}

async function showMoreSessions() {
  const page = await api.listSessions(cursor);
  const known = new Set(listed.map((session) => session.session_id));
  listed.push(...page.sessions.filter((session) => !known.has(session.session_id)));
  cursor = page.next_cursor;
  showSessions();
}

function showSessions() {
  view.showSessions(listed, current, removeSession);
  $("more").hidden = !cursor;
  const open = listed.find((session) => session.session_id === current);
  if (open) view.showTitle(open.title || "Untitled conversation");
}

async function removeSession(id, title) {
  if (!(await view.confirmDeletion(title))) return;
  try {
    await api.deleteSession(id);
  } catch (error) {
    if (error.status !== 404) return tell(error);
  }
  if (id === current) location.hash = "#/";
  await refreshSessions();
  focusQuestion();
}

// --- the open conversation -------------------------------------------------------------------------------------------

function leave() {
  visit += 1;
  reading?.abort(); // the answer itself goes on, and is stored
  reading = null;
  view.setBusy(false);
  view.clearLog();
  view.openSidebar(false);
}

function openNew() {
  leave();
  current = null;
  view.showTitle("");
  view.showWelcome(true);
  showSessions();
  focusQuestion();
}

async function open(id) {
  leave();
  current = id;
  const opened = visit;
  view.showWelcome(false);
  try {
    const session = await api.getSession(id);
    if (opened !== visit) return;
    view.showTitle(session.title || "Untitled conversation");
    showSessions();
    await showConversation(session);
  } catch (error) {
    if (opened === visit) showOpenError(error);
  }
}

function showOpenError(error) {
  const id = current;
  endReading(reading);
  const gone = error.code === "session_not_found";
  new view.Answer().note(error.message, gone ? "New conversation" : "Try again", () => {
    if (gone) location.hash = "#/";
    else open(id);
  });
}

async function showConversation(session) {
  const { session_id: id, messages } = session;
  offset = session.offset;
  $("earlier").hidden = offset === 0;
  const asked = messages.findLastIndex((message) => message.kind === "text" && message.role === "user");
  const last = messages.at(-1);
  if (asked < 0 || (last.kind === "text" && last.role === "assistant")) {
    view.showMessages(messages);
    view.scrollToEnd();
    return;
  }
  const query = messages[asked].content.findLast((block) => block.text)?.text ?? "";
  const reader = startReading();
  const response = await api.resume(query, id, reader.signal);
  if (reader !== reading) return;
  if (response) {
    // The answer is told again from its beginning, its tools included.
    view.showMessages(messages.slice(0, asked + 1));
    view.scrollToEnd();
    await follow(response, new view.Answer(), query, reader);
    return;
  }
  // Nobody writes it: either it has just been finished, or it never will be.
  const now = await api.getSession(id);
  if (reader !== reading) return;
  endReading(reader);
  if (now.message_count !== session.message_count) {
    await showConversation(now);
    return;
  }
  view.showMessages(messages);
  const answer = new view.Answer();
  answer.note("This answer was interrupted.", "Ask again", () => {
    answer.remove();
    send(query);
  });
  view.scrollToEnd();
}

async function showEarlierMessages() {
  const opened = visit;
  const limit = Math.min(100, offset);
  const page = await api.listMessages(current, offset - limit, limit);
  if (opened !== visit) return;
  const scroller = $("scroller");
  const fromEnd = scroller.scrollHeight - scroller.scrollTop;
  view.showMessages(page.messages, $("log").firstChild);
  offset -= limit;
  $("earlier").hidden = offset === 0;
  scroller.scrollTop = scroller.scrollHeight - fromEnd;
}

// --- asking ----------------------------------------------------------------------------------------------------------

function startReading() {
  reading = new AbortController();
  view.setBusy(true);
  return reading;
}

function endReading(reader) {
  if (reader !== reading) return; // another conversation has been opened meanwhile
  reading = null;
  view.setBusy(false);
}

async function send(query) {
  view.showWelcome(false);
  const asked = view.showQuestion([query]);
  const answer = new view.Answer();
  answer.waiting(true);
  view.scrollToEnd();
  focusQuestion();
  const reader = startReading();
  try {
    const response = await api.ask(query, current, reader.signal);
    if (reader !== reading) return;
    adopt(decodeURIComponent(response.headers.get("session-id")));
    await follow(response, answer, query, reader);
  } catch (error) {
    if (error.name === "AbortError") return;
    endReading(reader);
    answer.note(error.message, "Try again", () => {
      asked.remove();
      answer.remove();
      send(query);
    });
    view.scrollToEnd();
  }
}

// The first answer names the session; the address follows without opening it anew.
function adopt(id) {
  if (current === id) return;
  current = id;
  history.replaceState(null, "", `#/${encodeURIComponent(id)}`);
  refreshSessions();
}

async function follow(response, answer, query, reader) {
  answer.waiting(true);
  let seen = 0;
  let complete = true;
  let ending = null;
  for await (const event of api.eventsOf(response)) {
    if (reader !== reading) return;
    complete &&= event.id === seen + 1;
    seen = event.id;
    if (isLast(event)) ending = event;
    else view.keepingAtEnd(() => show(event, answer));
  }
  if (reader !== reading) return;
  endReading(reader);
  answer.waiting(false);
  view.keepingAtEnd(() => showEnding(ending, answer, query));
  if (ending?.event === "response_complete" && !complete) open(current); // too slow: some events were left out
  refreshSessions();
}

const isLast = ({ event }) => ["response_complete", "stopped", "error"].includes(event);

function show(event, answer) {
  if (event.event === "response_chunk") answer.addText(event.text);
  if (event.event === "tool_start") answer.addTool(event.tool_use_id, event.name, event.input);
  if (event.event === "tool_complete") answer.finishTool(event.tool_use_id, event.status, event.output);
}

function showEnding(ending, answer, query) {
  const reload = () => open(current);
  if (!ending) {
    answer.note("The connection was lost before the answer was complete.", "Reload the conversation", reload);
  } else if (ending.event === "stopped" && ending.reason === "cancelled") {
    answer.note("This answer was stopped. What was said so far is stored.", "Reload the conversation", reload);
  } else if (ending.event === "stopped") {
    answer.note("The service was stopped. What was said so far is stored.", "Reload the conversation", reload);
  } else if (ending.event === "error") {
    answer.note(ending.message, "Ask again", () => send(query));
  }
}

function tell(error) {
  new view.Answer().note(error.message);
  view.scrollToEnd();
}

// --- the page --------------------------------------------------------------------------------------------------------

function route() {
  const id = sessionNamed(location.hash);
  if (!id) openNew();
  else if (id !== current) open(id);
}

function sessionNamed(hash) {
  const name = hash.replace(/^#\/?/, "");
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // typed by hand
  }
}

function focusQuestion() {
  // Not where it would bring up a keyboard over half of the page.
  if (matchMedia("(hover: hover)").matches) question.focus();
}

function fitQuestion() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
  const left = question.maxLength - question.value.length;
  $("count").textContent = left <= 100 ? `${left} characters left` : "";
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = question.value.trim();
  if (!query || reading) return;
  question.value = "";
  fitQuestion();
  send(query);
});

question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
});
question.addEventListener("input", fitQuestion);

$("examples").addEventListener("click", (event) => {
  const example = event.target.closest("button");
  if (example && !reading) send(example.textContent);
});

$("new").addEventListener("click", () => {
  if (location.hash.length > 2) location.hash = "#/";
  else openNew();
});
$("more").addEventListener("click", () => showMoreSessions().catch(tell));
$("earlier").addEventListener("click", () => showEarlierMessages().catch(tell));
$("menu").addEventListener("click", () => view.openSidebar($("shade").hidden));
$("shade").addEventListener("click", () => view.openSidebar(false));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") view.openSidebar(false);
});
// The open conversation may be the one that is clicked: then no hash changes, and the drawer closes all the same.
$("sessions").addEventListener("click", (event) => {
  if (event.target.closest("a")) view.openSidebar(false);
});
window.addEventListener("hashchange", route);

refreshSessions();
route();
