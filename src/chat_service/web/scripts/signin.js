// The key that a service may ask for: kept for this tab, or for this device when the reader says so.

import { $ } from "./element.js";

const NAME = "api-key";
let asking = null;

export const storedKey = () => sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME);

export function forgetKey() {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}

// Resolves when there is another key than the one that was refused. Requests that fail together ask once.
export async function askForKey(refused) {
  if (storedKey() !== refused) return;
  asking ??= dialogue(refused).finally(() => (asking = null));
  await asking;
}

function dialogue(refused) {
  const dialog = $("sign-in");
  forgetKey();
  $("key").value = "";
  $("key-trouble").textContent = refused ? "This key is not known. Check it, or ask for another one." : "";
  return new Promise((resolve) => {
    dialog.oncancel = (event) => event.preventDefault(); // nothing works without a key
    dialog.onclose = () => {
      if (dialog.returnValue !== "yes") return dialog.showModal();
      const storage = $("keep-key").checked ? localStorage : sessionStorage;
      storage.setItem(NAME, $("key").value.trim());
      $("sign-out").hidden = false;
      resolve();
    };
    dialog.returnValue = "";
    dialog.showModal();
    $("key").focus();
  });
}

export function watchSignOut() {
  $("sign-out").hidden = !storedKey();
  $("sign-out").onclick = () => {
    forgetKey();
    location.reload();
  };
}
