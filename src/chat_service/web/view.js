// What is shown. Text goes in as text, never as HTML.

const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

const log = $("log");
const scroller = $("scroller");

// Follows the answer only while the reader is at the end of it.
export function keepingAtEnd(change) {
  const distance = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  const result = change();
  if (distance < 80) scrollToEnd();
  return result;
}

export function scrollToEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

export function showTitle(title) {
  $("title").textContent = title || "New conversation";
  document.title = title || "New conversation";
}

export function showWelcome(shown) {
  $("welcome").hidden = !shown;
}

export function clearLog() {
  log.replaceChildren();
  $("earlier").hidden = true;
}

export function setBusy(busy) {
  // A screen reader waits for the whole answer instead of reading it in pieces.
  log.setAttribute("aria-busy", String(busy));
  $("send").disabled = busy;
}

function quoteAndQuestion(texts) {
  const marked = texts.slice(0, -1).map((text) => text.replace(/^<selected_text>\n|\n<\/selected_text>$/g, ""));
  return [
    ...marked.map((text) => element("blockquote", { textContent: text })),
    element("p", { className: "text", textContent: texts.at(-1) ?? "" }),
  ];
}

export function showQuestion(texts, before = null) {
  const item = element("article", { className: "user", ariaLabel: "You" }, ...quoteAndQuestion(texts));
  log.insertBefore(item, before);
  return item;
}

// An answer that grows: paragraphs of text with folded tool calls between them.
export class Answer {
  constructor(before = null) {
    this.item = element("article", { className: "assistant", ariaLabel: "Answer" });
    this.tools = new Map();
    this.paragraph = null;
    log.insertBefore(this.item, before);
  }

  waiting(on) {
    this.item.classList.toggle("waiting", on);
  }

  addText(text) {
    if (!this.paragraph) {
      this.paragraph = element("p", { className: "text" });
      this.item.append(this.paragraph);
      text = text.trimStart();
    }
    this.paragraph.append(text);
  }

  addTool(id, name, input) {
    this.paragraph = null;
    const state = element("span", { className: "state", textContent: "running" });
    const fold = element(
      "details",
      { className: "tool" },
      element("summary", {}, element("code", { textContent: name }), " ", state),
      element("h4", { textContent: "Input" }),
      element("pre", { textContent: JSON.stringify(input, null, 2) }),
    );
    this.tools.set(id, { fold, state });
    this.item.append(fold);
  }

  finishTool(id, status, output) {
    const tool = this.tools.get(id);
    if (!tool) return;
    tool.state.textContent = status === "success" ? "done" : "failed";
    tool.state.classList.toggle("failed", status !== "success");
    tool.fold.append(element("h4", { textContent: "Output" }), element("pre", { textContent: output }));
  }

  note(text, label, action) {
    this.waiting(false);
    const note = element("div", { className: "note" }, element("p", { textContent: text }));
    note.setAttribute("role", "alert");
    if (action) note.append(element("button", { type: "button", textContent: label, onclick: action }));
    this.item.append(note);
  }

  remove() {
    this.item.remove();
  }
}

// Stored messages: an answer may be several of them, with what its tools said in between.
export function showMessages(messages, before = null) {
  let answer = null;
  for (const message of messages) {
    if (message.kind === "text" && message.role === "user") {
      showQuestion(message.content.filter((block) => "text" in block).map((block) => block.text), before);
      answer = null;
      continue;
    }
    answer ??= new Answer(before);
    for (const block of message.content) {
      if (block.text) answer.addText(block.text);
      if (block.toolUse) answer.addTool(block.toolUse.toolUseId, block.toolUse.name, block.toolUse.input);
      if (block.toolResult) {
        const output = block.toolResult.content.map((part) => part.text ?? JSON.stringify(part)).join("\n");
        answer.finishTool(block.toolResult.toolUseId, block.toolResult.status, output);
      }
    }
    answer.paragraph = null;
  }
}

function age(stamp) {
  const seconds = (Date.now() - new Date(stamp)) / 1000;
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (seconds < 60) return "just now";
  if (seconds < 3600) return words.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86400) return words.format(-Math.round(seconds / 3600), "hour");
  if (seconds < 86400 * 7) return words.format(-Math.round(seconds / 86400), "day");
  return new Date(stamp).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

export function showSessions(sessions, current, onDelete) {
  $("no-sessions").hidden = sessions.length > 0;
  $("sessions").replaceChildren(...sessions.map((session) => sessionItem(session, current, onDelete)));
}

function sessionItem(session, current, onDelete) {
  const title = session.title || "Untitled conversation";
  const link = element(
    "a",
    { href: `#/${encodeURIComponent(session.session_id)}`, title },
    element("span", { className: "name", textContent: title }),
    element("time", { dateTime: session.last_accessed, textContent: age(session.last_accessed) }),
  );
  if (session.session_id === current) link.setAttribute("aria-current", "page");
  const remove = element("button", { type: "button", className: "plain remove", textContent: "×" });
  remove.ariaLabel = `Delete “${title}”`;
  remove.onclick = () => onDelete(session.session_id, title);
  return element("li", {}, link, remove);
}

// Resolves to whether the person agreed.
export function confirmDeletion(title) {
  const dialog = $("confirm");
  $("confirm-text").textContent = `“${title}” and all its messages will be gone for good.`;
  return new Promise((resolve) => {
    const answer = (agreed) => () => {
      dialog.onclose = null;
      dialog.close();
      resolve(agreed);
    };
    $("keep").onclick = answer(false);
    $("delete").onclick = answer(true);
    dialog.onclose = () => resolve(false);
    dialog.showModal();
    $("keep").focus();
  });
}

export function openSidebar(open) {
  document.body.classList.toggle("sidebar-open", open);
  $("menu").setAttribute("aria-expanded", String(open));
  $("shade").hidden = !open;
}
