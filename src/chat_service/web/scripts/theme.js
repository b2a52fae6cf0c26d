// Light, dark, or as the system has it.

import { $ } from "./element.js";
import { tell } from "./toast.js";

const NEXT = { system: "light", light: "dark", dark: "system" };
const root = document.documentElement;

export function watchTheme() {
  const show = () => {
    const name = `Theme: ${root.dataset.theme ?? "system"}`;
    Object.assign($("theme"), { title: name, ariaLabel: name });
  };
  $("theme").onclick = () => {
    const theme = NEXT[root.dataset.theme ?? "system"];
    if (theme === "system") {
      delete root.dataset.theme;
      localStorage.removeItem("theme");
    } else {
      root.dataset.theme = theme;
      localStorage.setItem("theme", theme);
    }
    show();
    tell(theme === "system" ? "The theme follows the system." : `The theme is ${theme}.`);
  };
  show();
}
