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

// What to do, by the code of an error. What went wrong is what the service says.
const REMEDIES = {
  session_busy: "Wait until it is finished, then send again.",
  session_conflict: "Reload the conversation, then send again.",
  session_too_large: "Begin a new conversation, or fork this one from an earlier message.",
  content_too_large: "Shorten the question.",
  rate_limited: "Wait a moment, then send again.",
  overloaded: "Wait a moment, then send again.",
  model_unavailable: "Try again in a few seconds.",
  agent_error: "Ask again; if it fails again, ask in other words.",
  service_unavailable: "It is being looked for; try again in a few seconds.",
  turn_interrupted: "Ask again. The conversation may stay busy for up to half a minute.",
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
  const remedy = REMEDIES[error.code] ?? "";
  return remedy && !error.message.includes(remedy) ? `${error.message} ${remedy}` : error.message;
}
