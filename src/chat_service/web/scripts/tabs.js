// Other tabs of this browser: told what has happened in a session, so that they need not ask.

const channel = new BroadcastChannel("conversations");

// `what`: `asked`, `changed`, `deleted`, `listed`.
export const tellTabs = (what, sessionId) => channel.postMessage({ what, sessionId });

export const onTabs = (handle) => channel.addEventListener("message", ({ data }) => handle(data));
