// The events of an answer, read to the last one: through cuts of the network, without a lost or doubled word.

import { connection } from "./connection.js";
import * as service from "./service.js";

const SILENCE = 45_000; // milliseconds; a living service says something every fifteen seconds

export const isLast = ({ event }) => ["response_complete", "stopped", "error", "lost"].includes(event);

// Yields events; the last one is `lost` when nobody tells the answer any more. One that skips others has `gap`.
export async function* follow(response, sessionId, signal) {
  const seen = { id: "0", number: 0 };
  let session = sessionId ?? decodeURIComponent(response.headers.get("session-id") ?? "");
  while (response) {
    for await (const event of eventsOf(response, signal)) {
      session = event.session_id ?? session;
      if (event.event === "error" && event.code === "service_unavailable") break; // another replica may know more
      if (!isNews(event, seen)) continue;
      yield event;
      if (isLast(event)) return;
    }
    response = await readOn(session, seen.id, signal);
  }
  yield { event: "lost" };
}

// A block has no id of its own: it replaces what was there, however often it is told.
function isNews(event, seen) {
  if (event.event === "response_block") return true;
  const number = Number(event.id.split("-").pop());
  if (number <= seen.number) return false;
  event.gap = number > seen.number + 1;
  Object.assign(seen, { id: event.id, number });
  return true;
}

async function readOn(sessionId, lastEventId, signal) {
  connection.lost();
  while (true) {
    await connection.restored(signal);
    try {
      return await service.readOn(sessionId, lastEventId, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (error.code !== "unreachable" && error.status !== 503) return null;
    }
  }
}

// Ends without a last event when the connection breaks.
async function* eventsOf(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const part = await nextPart(reader, signal);
    if (!part) return;
    const frames = (rest + part).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const fields = Object.fromEntries(frame.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.data) yield { id: fields.id, ...JSON.parse(fields.data) };
    }
  }
}

async function nextPart(reader, signal) {
  const silence = setTimeout(() => reader.cancel(), SILENCE);
  try {
    const { done, value } = await reader.read();
    return done ? null : value;
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  } finally {
    clearTimeout(silence);
  }
}
