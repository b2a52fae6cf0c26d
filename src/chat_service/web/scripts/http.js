// One request to the service: its address, the key, and what becomes of a failure.

import { SERVICE } from "./address.js";
import { connection } from "./connection.js";
import { askForKey, storedKey } from "./signin.js";

export class ServiceError extends Error {
  constructor(message, { code = "unreachable", status = 0, retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }
}

// Throws ServiceError; AbortError when the signal says so.
export async function call(path, { method = "GET", body, headers = {}, signal } = {}) {
  while (true) {
    const key = storedKey();
    const response = await reach(path, {
      method,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
        ...headers,
      },
    });
    if (response.ok) return response;
    const error = await problem(response);
    if (error.status !== 401) throw error;
    await askForKey(key);
  }
}

export const json = async (path, options) => (await call(path, options)).json();

async function reach(path, options) {
  try {
    const response = await fetch(SERVICE + path, options);
    connection.reached();
    return response;
  } catch (error) {
    options.signal?.throwIfAborted();
    connection.lost();
    throw new ServiceError("The service cannot be reached.");
  }
}

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  if (response.status === 503) connection.busy(retryAfter);
  const message = body.error ?? `The service answered with status ${response.status}.`;
  return new ServiceError(message, { code: body.code ?? "", status: response.status, retryAfter });
}
