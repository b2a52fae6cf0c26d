// Where questions are written. A draft stays through a reload, and comes back when it could not be sent.

import { $ } from "./element.js";

const field = $("question");
const DRAFT = "draft";

export function focusQuestion(always = true) {
  // Not by itself where it would bring up a keyboard over half of the page.
  if (always || matchMedia("(hover: hover)").matches) field.focus();
}

export function giveBack(question, message) {
  if (question) field.value = [question, field.value].filter(Boolean).join("\n\n");
  $("refusal").textContent = message;
  $("refusal").hidden = false;
  changed();
  focusQuestion();
}

export function showRunning(isRunning) {
  $("stop").hidden = !isRunning;
  $("send").hidden = isRunning;
  changed();
}

// `onSend(question)`, `onStop()`.
export function watchComposer(onSend, onStop) {
  field.value = sessionStorage.getItem(DRAFT) ?? "";
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = field.value.trim();
    if (!question || !$("stop").hidden) return;
    field.value = "";
    $("refusal").hidden = true;
    changed();
    onSend(question);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("form").requestSubmit();
  });
  field.addEventListener("input", () => {
    $("refusal").hidden = true;
    changed();
  });
  $("stop").onclick = onStop;
  changed();
}

function changed() {
  sessionStorage.setItem(DRAFT, field.value);
  $("send").disabled = !field.value.trim();
  const left = field.maxLength - field.value.length;
  $("count").textContent = left <= 100 ? `${left} characters left` : "";
}
