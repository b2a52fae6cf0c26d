// What the service offers, one function for each thing that the page asks of it.

import { call, json } from "./http.js";

const session = (id) => `/api/sessions/${encodeURIComponent(id)}`;
const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();

export const listSessions = (words, cursor) => json(`/api/sessions?${query({ limit: 40, q: words, cursor })}`);
export const getSession = (id) => json(`${session(id)}?render=html`);
export const listMessages = (id, offset, limit) =>
  json(`${session(id)}/messages?render=html&limit=${limit}&offset=${offset}`);
export const deleteSession = (id) => call(session(id), { method: "DELETE" });
export const renameSession = (id, title) => json(session(id), { method: "PATCH", body: { title } });
export const forkSession = (id, messageId) =>
  json(`${session(id)}/fork`, { method: "POST", body: messageId ? { message_id: messageId } : {} });
export const rewindSession = (id, messageId) =>
  json(`${session(id)}/rewind`, { method: "POST", body: { message_id: messageId } });

export const getMetadata = (id) => json(`${session(id)}/metadata`);
export const setMetadata = (id, metadata) => json(`${session(id)}/metadata`, { method: "PATCH", body: { metadata } });
export const deleteMetadata = (id, key) =>
  json(`${session(id)}/metadata?key=${encodeURIComponent(key)}`, { method: "DELETE" });

export const getFeedback = (id) => json(`${session(id)}/feedback`);
export const addFeedback = (id, feedback) => json(`${session(id)}/feedback`, { method: "POST", body: feedback });

export const getActivity = (id) => json(`${session(id)}/activity`);
export const getDocument = (id) => json(`${session(id)}/document`);
export const exportSession = async (id) => (await call(`${session(id)}/export`)).blob();
export const getSuggestions = async () => (await json("/api/suggestions")).suggestions;

export const getTurn = (id) => json(`${session(id)}/turn`);
export const cancelTurn = (id) => json(`${session(id)}/cancel`, { method: "POST" });

// Asks a question. The same key again is the same question: a request that was lost on its way may be repeated.
export const ask = (question, sessionId, key, signal) =>
  call("/api/chat/stream?render=html", {
    method: "POST",
    headers: { "Idempotency-Key": key },
    body: sessionId ? { query: question, session_id: sessionId } : { query: question },
    signal,
  });

// What came after an event of an answer; null when nothing did.
export async function readOn(sessionId, lastEventId, signal) {
  const values = { render: "html", session_id: sessionId, last_event_id: lastEventId };
  const response = await call(`/api/chat/stream?${query(values)}`, { signal });
  return response.status === 204 ? null : response;
}
