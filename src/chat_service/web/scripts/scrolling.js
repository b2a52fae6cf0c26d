// Follows an answer while the reader is at its end, and lets go as soon as he scrolls up.

import { $ } from "./element.js";

const NEAR = 60; // pixels

const scroller = $("scroller");
let isFollowing = true;
let before = 0;

const isAtEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;

export function toEnd() {
  isFollowing = true;
  scroller.scrollTop = scroller.scrollHeight;
  $("to-end").hidden = true;
}

// To be called after what is shown has grown.
export function followEnd() {
  if (isFollowing) scroller.scrollTop = scroller.scrollHeight;
  else $("to-end").hidden = isAtEnd();
}

// Changes something above without moving what the reader sees.
export function keepingPlace(anchor, change) {
  const top = anchor?.getBoundingClientRect().top;
  change();
  if (anchor?.isConnected) scroller.scrollTop += anchor.getBoundingClientRect().top - top;
}

export function watchScrolling(onNewest) {
  scroller.addEventListener("scroll", () => {
    const isUp = scroller.scrollTop < before - 1;
    before = scroller.scrollTop;
    if (isUp && !isAtEnd()) isFollowing = false;
    else if (isAtEnd()) isFollowing = true;
    $("to-end").hidden = isFollowing || isAtEnd();
  }, { passive: true });
  $("to-end").onclick = onNewest;
}
