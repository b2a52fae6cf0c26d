// Copying, and saying so.

import { icon } from "./element.js";
import { tell } from "./toast.js";

export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    tell("The browser does not let this page copy. Select the text and copy it by hand.");
    return;
  }
  tell("Copied.");
  const before = [...button.childNodes];
  button.replaceChildren(icon("check"));
  setTimeout(() => button.replaceChildren(...before), 1500);
}
