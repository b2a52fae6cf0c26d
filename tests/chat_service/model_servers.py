"""Small servers that speak the protocols of the model providers, as the providers document them."""

from __future__ import annotations

import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Protocol

BREAK = b"<break>"  # in a reply: the connection is lost here
SILENCE = b"<silence>"  # and here the server says no more until it is closed


class Dialect(Protocol):
    """One provider's protocol."""

    name: str
    content_type: str
    overloaded: int  # the status with which it refuses for now

    def settings(self, address: str) -> dict[str, Any]: ...
    def path(self, model: str) -> str: ...
    def words(self, *said: str) -> list[bytes]: ...
    def call(self, tool: str, arguments: dict[str, Any]) -> list[bytes]: ...
    def trouble(self) -> list[bytes]: ...
    def refusal(self) -> dict[str, Any]: ...
    def asked(self, request: dict[str, Any]) -> dict[str, Any]: ...


class ModelServer(ThreadingHTTPServer):
    """Answers each request with the next reply, and the last one for ever."""

    daemon_threads = True

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dialect = dialect
        self.replies: list[list[bytes]] = []
        self.refusals: list[int] = []  # statuses, before anything is answered
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def say(self, *replies: list[bytes]) -> None:
        self.replies = list(replies)
        self.refusals, self.requests, self.headers, self.paths = [], [], [], []

    def next_reply(self) -> list[bytes]:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        server.headers.append({name.lower(): value for name, value in self.headers.items()})
        server.paths.append(self.path)
        self.close_connection = True
        if server.refusals:
            self._refuse(server.refusals.pop(0))
            return
        self.send_response(200)
        self.send_header("Content-Type", server.dialect.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in server.next_reply():
            if part == BREAK:
                return
            if part == SILENCE:
                server.closing.wait(20)
                return
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.flush()
            time.sleep(0.002)
        self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, status: int) -> None:
        body = json.dumps(self.server.dialect.refusal()).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-errortype", "ThrottlingException")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@contextmanager
def running_model(dialect: Dialect) -> Iterator[ModelServer]:
    with ModelServer(dialect) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


class Anthropic:
    name = "anthropic"
    content_type = "text/event-stream"
    overloaded = 529

    def settings(self, address: str) -> dict[str, Any]:
        return {"anthropic_api_key": "key-1", "anthropic_base_url": address}

    def path(self, model: str) -> str:
        return "/v1/messages"

    def words(self, *said: str) -> list[bytes]:
        return [*self._start(), *self._block({"type": "text", "text": ""}, self._texts(said)), *self._end("end_turn")]

    def call(self, tool: str, arguments: dict[str, Any]) -> list[bytes]:
        use = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
        written = [{"type": "input_json_delta", "partial_json": json.dumps(arguments)}]
        return [*self._start(), *self._block(use, written), *self._end("tool_use")]

    def trouble(self) -> list[bytes]:
        error = {"type": "overloaded_error", "message": "secret of the provider"}
        return [self._frame("error", error=error)]

    def refusal(self) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "overloaded_error", "message": "secret of the provider"}}

    def asked(self, request: dict[str, Any]) -> dict[str, Any]:
        return {name: request.get(name) for name in ("model", "temperature", "max_tokens")}

    def _start(self) -> list[bytes]:
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
        usage = {"input_tokens": 7, "output_tokens": 1}
        whole = {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}
        return [self._frame("message_start", message=whole), self._frame("ping")]

    def _texts(self, said: Sequence[str]) -> list[dict[str, Any]]:
        return [{"type": "text_delta", "text": word} for word in said]

    def _block(self, content: dict[str, Any], deltas: list[dict[str, Any]]) -> list[bytes]:
        return [
            self._frame("content_block_start", index=0, content_block=content),
            *(self._frame("content_block_delta", index=0, delta=delta) for delta in deltas),
            self._frame("content_block_stop", index=0),
        ]

    def _end(self, reason: str) -> list[bytes]:
        delta = {"stop_reason": reason, "stop_sequence": None}
        return [self._frame("message_delta", delta=delta, usage={"output_tokens": 2}), self._frame("message_stop")]

    def _frame(self, kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


class Ollama:
    name = "ollama"
    content_type = "application/x-ndjson"
    overloaded = 503

    def settings(self, address: str) -> dict[str, Any]:
        return {"ollama_host": address}

    def path(self, model: str) -> str:
        return "/api/chat"

    def words(self, *said: str) -> list[bytes]:
        return [*(self._line(content=word) for word in said), self._last()]

    def call(self, tool: str, arguments: dict[str, Any]) -> list[bytes]:
        calls = [{"function": {"name": tool, "arguments": arguments}}]
        return [self._line(content="", tool_calls=calls), self._last()]

    def trouble(self) -> list[bytes]:
        return [b'{"error": "secret of the provider"}\n']

    def refusal(self) -> dict[str, Any]:
        return {"error": "server busy, please try again. secret of the provider"}

    def asked(self, request: dict[str, Any]) -> dict[str, Any]:
        options = request["options"]
        chosen = {"temperature": options.get("temperature"), "max_tokens": options.get("num_predict")}
        return {"model": request["model"], **chosen}

    def _line(self, **message: Any) -> bytes:
        fields = {"model": "m", "created_at": "2026-01-02T03:04:05Z", "done": False}
        return json.dumps({**fields, "message": {"role": "assistant", **message}}).encode() + b"\n"

    def _last(self) -> bytes:
        # Without prompt_eval_count, as the server answers about a prompt that it still knows.
        fields = {"model": "m", "created_at": "2026-01-02T03:04:05Z", "done": True, "done_reason": "stop"}
        counts = {"total_duration": 5_000_000, "eval_count": 2}
        return json.dumps({**fields, **counts, "message": {"role": "assistant", "content": ""}}).encode() + b"\n"


class Bedrock:
    name = "bedrock"
    content_type = "application/vnd.amazon.eventstream"
    overloaded = 429

    # What boto3 reads itself.
    environment: ClassVar[dict[str, str]] = {"AWS_ACCESS_KEY_ID": "id-1", "AWS_SECRET_ACCESS_KEY": "key-1"}

    def settings(self, address: str) -> dict[str, Any]:
        return {"aws_region": "eu-west-1"}

    def path(self, model: str) -> str:
        return f"/model/{model}/converse-stream"

    def words(self, *said: str) -> list[bytes]:
        deltas = [_frame("contentBlockDelta", contentBlockIndex=0, delta={"text": word}) for word in said]
        return [_frame("messageStart", role="assistant"), *deltas, *self._end("end_turn")]

    def call(self, tool: str, arguments: dict[str, Any]) -> list[bytes]:
        start = {"toolUse": {"toolUseId": "tooluse_1", "name": tool}}
        delta = {"toolUse": {"input": json.dumps(arguments)}}
        return [
            _frame("messageStart", role="assistant"),
            _frame("contentBlockStart", contentBlockIndex=0, start=start),
            _frame("contentBlockDelta", contentBlockIndex=0, delta=delta),
            *self._end("tool_use"),
        ]

    def trouble(self) -> list[bytes]:
        headers = {":exception-type": "serviceUnavailableException", ":message-type": "exception"}
        return [_event_stream_frame(headers, {"message": "secret of the provider"})]

    def refusal(self) -> dict[str, Any]:
        return {"message": "secret of the provider"}

    def asked(self, request: dict[str, Any]) -> dict[str, Any]:
        chosen = request.get("inferenceConfig", {})
        # The model is in the path.
        return {"temperature": chosen.get("temperature"), "max_tokens": chosen.get("maxTokens")}

    def _end(self, reason: str) -> list[bytes]:
        usage = {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9}
        return [
            _frame("contentBlockStop", contentBlockIndex=0),
            _frame("messageStop", stopReason=reason),
            _frame("metadata", usage=usage, metrics={"latencyMs": 5}),
        ]


def _frame(kind: str, **fields: Any) -> bytes:
    return _event_stream_frame({":event-type": kind, ":message-type": "event"}, fields)


def _event_stream_frame(headers: dict[str, str], payload: dict[str, Any]) -> bytes:
    """A message of ``application/vnd.amazon.eventstream``: lengths, their checksum, headers, payload, checksum."""
    named = b"".join(_header(name, value) for name, value in {**headers, ":content-type": "application/json"}.items())
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 12 + len(named) + len(body) + 4, len(named))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + named + body
    return message + struct.pack("!I", zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    text = 7
    return struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", text, len(value)) + value.encode()
