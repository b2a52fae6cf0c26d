// A short word about something that has just been done. Screen readers hear it too.

import { $ } from "./element.js";

let timer = 0;

export function tell(text) {
  const toast = $("toast");
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(timer);
  timer = setTimeout(() => toast.classList.remove("shown"), 4000);
}
