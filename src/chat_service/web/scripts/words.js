// Numbers, times and troubles in words.

const DAY = 86_400_000;

function daysAgo(stamp, now = new Date()) {
  const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(now) - midnight(new Date(stamp))) / DAY);
}

export function dayOf(stamp) {
  const ago = daysAgo(stamp);
  if (ago <= 0) return "Today";
  if (ago === 1) return "Yesterday";
  const date = new Date(stamp);
  if (ago < 7) return date.toLocaleDateString("en", { weekday: "long" });
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString("en", { day: "numeric", month: "long", year });
}

export const timeOf = (stamp) => new Date(stamp).toLocaleTimeString("en", { hour: "numeric", minute: "2-digit" });

export const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export function lasting(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

// What to do, by the code of an error, where the service says only what went wrong.
const REMEDIES = {
  session_too_large: "Or fork this one from an earlier message.",
  content_too_large: "Shorten the question.",
  turn_interrupted: "The conversation may stay busy for up to half a minute.",
  forbidden: "Sign in with another key.",
  unreachable: "Check your network and that the service is running, then send again.",
};

// What is to be said of the end of an answer; nothing when all went well.
export function endingOf(event) {
  if (event.event === "error") return trouble(event);
  if (event.event !== "stopped") return "";
  return `${event.reason === "cancelled" ? "Stopped." : "The service was stopped."} What was said so far is kept.`;
}

export function trouble(error) {
  const remedy = error.code === "rate_limited" ? waiting(error.retryAfter) : (REMEDIES[error.code] ?? "");
  return remedy ? `${error.message} ${remedy}` : error.message;
}

const waiting = (seconds) => `Wait ${seconds ? counted(seconds, "second") : "a moment"}, then send again.`;
