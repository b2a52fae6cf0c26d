// The service, seen from the page: requests, errors in words, and the events of an answer.

export class ApiError extends Error {
  constructor(message, { code = "offline", status = 0 } = {}) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The service cannot be reached. Is it running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const message = body.error ?? `The service answered with status ${response.status}.`;
  throw new ApiError(message, { code: body.code, status: response.status });
}

const sessionPath = (id) => `/api/sessions/${encodeURIComponent(id)}`;

export async function listSessions(cursor) {
  const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
  return (await call(`/api/sessions?limit=30${query}`)).json();
}

export async function getSession(id) {
  return (await call(sessionPath(id))).json();
}

export async function listMessages(id, offset, limit) {
  return (await call(`${sessionPath(id)}/messages?offset=${offset}&limit=${limit}`)).json();
}

export async function deleteSession(id) {
  await call(sessionPath(id), { method: "DELETE" });
}

// Asks a question. Errors that have a status code are thrown; after that the events tell.
export function ask(query, sessionId, signal) {
  return call("/api/chat/stream", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query, session_id: sessionId }),
    signal,
  });
}

// Goes on reading an answer that is still being written; null when none is.
export async function resume(query, sessionId, signal) {
  const parameters = new URLSearchParams({ query, session_id: sessionId });
  const response = await call(`/api/chat/stream?${parameters}`, { headers: { "Last-Event-ID": "0" }, signal });
  return response.status === 204 ? null : response;
}

// The events of a response, each with its number. Ends without a last event when the connection breaks.
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return;
    }
    if (part.done) return;
    const frames = (rest + part.value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const fields = Object.fromEntries(frame.split("\n").map((line) => line.split(/: (.*)/s)));
      // An id is <turn id>-<number>.
      if (fields.data) yield { id: Number(fields.id.split("-").pop()), ...JSON.parse(fields.data) };
    }
  }
}
