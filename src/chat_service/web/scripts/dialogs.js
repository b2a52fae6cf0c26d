// Questions that the page asks back.

import { $ } from "./element.js";

// Resolves to whether the person agreed.
async function opened(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

export function confirmDeletion(title) {
  const name = title || "Untitled conversation";
  $("confirm-text").textContent = `“${name}” and all its messages will be gone for good.`;
  return opened($("confirm"));
}

// Resolves to the new title, or null.
export async function askForTitle(title) {
  $("name").value = title ?? "";
  const answer = opened($("naming"));
  $("name").select();
  return (await answer) ? $("name").value.trim() || null : null;
}

for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.onclick = () => button.closest("dialog").close("");
}
