"""Feedback to SNS and metadata to SQS: against a server that answers as AWS does, and one that answers badly."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.config import Config
from bson import ObjectId

from mongodb_session_manager import (
    FeedbackSNSHook,
    MetadataSQSHook,
    MongoDBSessionManager,
    MongoDBSessionManagerFactory,
    create_feedback_sns_hook,
    create_metadata_sqs_hook,
)
from tests.commands import Commands

Stored = Callable[[str], Any]

REGION = "eu-west-1"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:feedback"
QUEUE = f"https://sqs.{REGION}.amazonaws.com/123456789012/changes"
KEY, SECRET = "AKIAEXAMPLE", "very-secret-key"


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS as an application has it: all from the environment, nothing from this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of moto's server, a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            until(lambda: answers(f"{address}/moto-api/data.json"), 60)
            yield address
        finally:
            server.terminate()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


class Cloud:
    """Topics and queues on moto's server, made and read by the test itself."""

    def __init__(self, address: str) -> None:
        session = boto3.session.Session(KEY, SECRET, region_name=REGION)
        self.sns = session.client("sns", endpoint_url=address)
        self.sqs = session.client("sqs", endpoint_url=address)
        self._names = (f"{os.urandom(6).hex()}-{number}" for number in range(1000))

    def queue(self, *, fifo: bool = False) -> str:
        attributes = {"FifoQueue": "true"} if fifo else {}
        name = next(self._names) + (".fifo" if fifo else "")
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def topic(self, *, fifo: bool = False) -> str:
        attributes = {"FifoTopic": "true"} if fifo else {}
        name = next(self._names) + (".fifo" if fifo else "")
        return str(self.sns.create_topic(Name=name, Attributes=attributes)["TopicArn"])

    def subscribed(self, topic: str, **attributes: Any) -> str:
        """A new queue that listens to a topic."""
        url = self.queue(fifo=topic.endswith(".fifo"))
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        given = {name: json.dumps(value) for name, value in attributes.items()}
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=given)
        return url

    def received(self, url: str) -> list[Any]:
        """All that is in a queue, taken out of it; bodies only."""
        return [json.loads(message["Body"]) for message in self.messages(url)]

    def messages(self, url: str) -> list[Any]:
        found: list[Any] = []
        while batch := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        ).get("Messages"):
            found += batch
            for message in batch:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture(scope="module")
def behind_moto(moto: str) -> Cloud:
    return Cloud(moto)


@pytest.fixture
def cloud(aws: None, moto: str, behind_moto: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return behind_moto


@contextmanager
def draining(*hooks: Any) -> Iterator[Any]:
    """Hooks of which every message is sent in the end, however slow the machine."""
    yield hooks[0] if len(hooks) == 1 else hooks
    for hook in hooks:
        assert hook.close(60)


# Feedback to SNS


def test_each_rating_goes_to_its_topic_once_it_is_stored(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    topics = [cloud.topic() for _ in range(3)]
    queues = [cloud.subscribed(topic) for topic in topics]
    hook = create_feedback_sns_hook(*topics)
    manager = factory.create_session_manager("s", feedback_hook=hook)
    ratings: list[Any] = ["up", "down", "neutral", None, "UP", 5, ["up"]]
    for rating in ratings:
        manager.add_feedback({"rating": rating})
    manager.add_feedback({"comment": "no rating at all"})

    assert hook.close(60)
    told = [[json.loads(each["Message"])["feedback"] for each in cloud.received(queue)] for queue in queues]
    assert told[0] == [{"rating": "up"}]
    assert told[1] == [{"rating": "down"}]
    assert told[2] == [{"rating": rating} for rating in ratings[2:]] + [{"comment": "no rating at all"}]
    assert len(manager.get_feedbacks()) == 8
    assert hook.stats() == {"pending": 0, "delivered": 8, "failed": 0, "dropped": 0}


def test_a_message_says_all_and_its_attributes_serve_filter_policies(
    factory: MongoDBSessionManagerFactory, cloud: Cloud
) -> None:
    topic = cloud.topic()
    every, bad = cloud.subscribed(topic), cloud.subscribed(topic, FilterPolicy={"rating": ["down"]})
    of_one = cloud.subscribed(topic, FilterPolicy={"session_id": ["s-2"]})
    with draining(create_feedback_sns_hook(topic, topic, topic)) as hook:
        for session_id, rating in (("s-1", "up"), ("s-1", "down"), ("s-2", "meh")):
            manager = factory.create_session_manager(session_id, feedback_hook=hook)
            manager.add_feedback({"rating": rating, "comment": "schön", "message_id": 3})

    told = {json.loads(each["Message"])["feedback"]["rating"]: each for each in cloud.received(every)}
    message = json.loads(told["down"]["Message"])
    assert sorted(told) == ["down", "meh", "up"]
    assert abs(datetime.fromisoformat(message.pop("timestamp")) - datetime.now(UTC)).total_seconds() < 60
    assert message == {
        "session_id": "s-1",
        "event": "feedback_add",
        "operation": "add",
        "feedback": {"rating": "down", "comment": "schön", "message_id": 3},
    }
    assert told["down"]["Subject"] == "Feedback down: session s-1"
    assert told["meh"]["MessageAttributes"] == {
        "session_id": {"Type": "String", "Value": "s-2"},
        "rating": {"Type": "String", "Value": "neutral"},
    }
    assert [json.loads(each["Message"])["feedback"]["rating"] for each in cloud.received(bad)] == ["down"]
    assert [json.loads(each["Message"])["session_id"] for each in cloud.received(of_one)] == ["s-2"]


def test_none_in_the_place_of_a_topic_switches_it_off(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    topic = cloud.topic()
    queue = cloud.subscribed(topic)
    with draining(create_feedback_sns_hook("none", topic, "none")) as hook:
        manager = factory.create_session_manager("s", feedback_hook=hook)
        for rating in ("up", "down", "other"):
            manager.add_feedback({"rating": rating})

    assert [json.loads(each["Message"])["feedback"]["rating"] for each in cloud.received(queue)] == ["down"]
    assert [each["rating"] for each in manager.get_feedbacks()] == ["up", "down", "other"]
    assert hook.stats()["delivered"] == 1


@pytest.mark.parametrize(
    "session_id", ["", "ä" * 300, "x" * 1000, "a\nb\x01", "\x00", " ", '"<&>'], ids=lambda text: ascii(text[:9])
)
def test_whatever_a_session_is_called_its_feedback_is_published(
    factory: MongoDBSessionManagerFactory, cloud: Cloud, session_id: str
) -> None:
    topics = [cloud.topic(), cloud.topic(fifo=True)]
    queues = [cloud.subscribed(topic) for topic in topics]
    with draining(create_feedback_sns_hook(topics[0], topics[1], "none")) as hook:
        manager = factory.create_session_manager(session_id, feedback_hook=hook)
        manager.add_feedback({"rating": "up"})
        manager.add_feedback({"rating": "down"})

    assert hook.stats()["delivered"] == 2
    for queue in queues:
        (told,) = cloud.received(queue)
        assert json.loads(told["Message"])["session_id"] == session_id
        assert len(told["Subject"]) < 100
        assert told["Subject"].isascii()
        assert told["Subject"].isprintable()


def test_each_topic_is_called_in_its_own_region(
    factory: MongoDBSessionManagerFactory, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", endpoint.address)
    regions = ["eu-west-1", "us-east-2", "ap-south-1"]
    hook = create_feedback_sns_hook(*(f"arn:aws:sns:{region}:123456789012:t" for region in regions))
    with draining(hook):
        for rating in ("up", "down", None):
            factory.create_session_manager("s", feedback_hook=hook).add_feedback({"rating": rating})

    assert [request.region for request in endpoint.requests] == regions


# Metadata to SQS


def test_a_change_is_told_with_the_chosen_fields_alone(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    queue = cloud.queue()
    hook = create_metadata_sqs_hook(queue, ["status", "customer.tier", "agent"])
    manager = factory.create_session_manager("s", metadata_hook=hook)
    manager.update_metadata({"status": "open", "secret": 1, "agent.state": "idle", "agents": 2})
    manager.update_metadata({"secret": 2, "customers": {"tier": 1}})
    manager.update_metadata({})
    manager.update_metadata({"customer": {"tier": "gold", "name": "Ann"}})
    manager.update_metadata({"customer": {"name": "Ann"}})
    manager.update_metadata({"customer.tier": "silver", "customer.name": "Bob"})
    assert manager.get_metadata()["status"] == "open"
    manager.delete_metadata(["secret"])
    manager.delete_metadata(["status", "secret", "agent.state", "customer"])
    assert hook.close(60)

    told = cloud.received(queue)
    assert [
        abs(datetime.fromisoformat(each.pop("timestamp")) - datetime.now(UTC)).total_seconds() < 60 for each in told
    ]
    update = {"session_id": "s", "event": "metadata_update", "operation": "update"}
    assert told == [
        {**update, "metadata": {"status": "open", "agent.state": "idle"}},
        {**update, "metadata": {"customer.tier": "gold"}},
        {**update, "metadata": {"customer.tier": None}},
        {**update, "metadata": {"customer.tier": "silver"}},
        {
            "session_id": "s",
            "event": "metadata_delete",
            "operation": "delete",
            "metadata": {},
            "keys": ["status", "agent.state", "customer.tier"],
        },
    ]
    assert hook.stats()["delivered"] == 5


def test_without_a_choice_every_field_is_told(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    queue = cloud.queue()
    with draining(create_metadata_sqs_hook(queue)) as hook:
        manager = factory.create_session_manager("s", metadata_hook=hook)
        manager.update_metadata({"a": 1, "b.c": {"d": [1, None, True, 1.5, "x"]}})
        manager.delete_metadata(["a", "b.c"])
        manager.delete_metadata([])

    told = cloud.received(queue)
    assert [each["metadata"] for each in told] == [{"a": 1, "b.c": {"d": [1, None, True, 1.5, "x"]}}, {}]
    assert told[1]["keys"] == ["a", "b.c"]


def test_what_json_does_not_know_is_told_in_what_it_knows(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    queue = cloud.queue()
    identity = ObjectId()
    values = {
        "aware": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "naive": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001
        "id": identity,
        "ids": [identity],
        "bytes": b"\x00\xff",
        "not_a_number": float("nan"),
        "large": 2**80,
        "surrogate": "\ud83d",
        "control": "\x00\x01",
    }
    with draining(create_metadata_sqs_hook(queue)) as hook:
        factory.create_session_manager("s", metadata_hook=hook).update_metadata(values)
        hook(
            lambda metadata: None, "update", "s", metadata={"day": date(2026, 1, 2), "sum": Decimal("1.10"), "set": {1}}
        )

    assert [each["metadata"] for each in cloud.received(queue)] == [
        {
            "aware": "2026-01-02T03:04:05+00:00",
            "naive": "2026-01-02T03:04:05+00:00",
            "id": str(identity),
            "ids": [str(identity)],
            "bytes": "AP8=",
            "not_a_number": None,
            "large": 2**80,
            "surrogate": "\ud83d",
            "control": "\x00\x01",
        },
        {"day": "2026-01-02", "sum": "1.10", "set": [1]},
    ]


def test_what_is_changed_afterwards_is_told_as_it_was_stored(
    factory: MongoDBSessionManagerFactory, cloud: Cloud
) -> None:
    queue = cloud.queue()
    metadata = {"steps": [1]}
    with draining(create_metadata_sqs_hook(queue)) as hook:
        factory.create_session_manager("s", metadata_hook=hook).update_metadata(metadata)
        metadata["steps"].append(2)

    assert [each["metadata"] for each in cloud.received(queue)] == [{"steps": [1]}]


def test_a_fifo_queue_keeps_the_order_of_each_session(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    queue = cloud.queue(fifo=True)
    with draining(create_metadata_sqs_hook(queue)) as hook:
        managers = [factory.create_session_manager(name, metadata_hook=hook) for name in ("a", "b", "ü" * 200)]
        for step in range(8):
            for manager in managers:
                manager.update_metadata({"step": step, "same": True})

    messages = cloud.messages(queue)
    told = [json.loads(message["Body"]) for message in messages]
    assert len({message["Attributes"]["MessageDeduplicationId"] for message in messages}) == len(messages) == 24
    assert {message["Attributes"]["MessageGroupId"] for message in messages} >= {"a", "b"}
    for manager in managers:
        steps = [each["metadata"]["step"] for each in told if each["session_id"] == manager.session_id]
        assert steps == list(range(8))


def test_a_message_of_the_same_content_is_told_again(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    queue = cloud.queue(fifo=True)
    with draining(create_metadata_sqs_hook(queue)) as hook:
        manager = factory.create_session_manager("s", metadata_hook=hook)
        manager.update_metadata({"a": 1})
        manager.update_metadata({"a": 1})

    assert len(cloud.received(queue)) == 2


async def test_the_hooks_work_in_awaited_and_in_mixed_chains(
    factory: MongoDBSessionManagerFactory, cloud: Cloud, commands: Commands
) -> None:
    queue, topic = cloud.queue(), cloud.topic()
    listening = cloud.subscribed(topic)

    async def upper(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        return await original_func({key: str(value).upper() for key, value in kwargs.popitem()[1].items()})

    async with create_metadata_sqs_hook(queue) as changes, create_feedback_sns_hook(topic, topic, topic) as ratings:
        manager = factory.create_session_manager("s", metadata_hook=[upper, changes], feedback_hook=[ratings, upper])
        await manager.aio.update_metadata({"a": "x"})
        await manager.aio.add_feedback({"rating": "up"})

    assert [each["metadata"] for each in cloud.received(queue)] == [{"a": "X"}]
    assert [json.loads(each["Message"])["feedback"] for each in cloud.received(listening)] == [{"rating": "up"}]
    assert [each["rating"] for each in await manager.aio.get_feedbacks()] == ["UP"]
    assert commands.on_a_loop == []


def test_what_is_vetoed_or_refused_is_not_told(factory: MongoDBSessionManagerFactory, cloud: Cloud) -> None:
    queue = cloud.queue()

    def veto(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        raise PermissionError

    with draining(create_metadata_sqs_hook(queue)) as hook:
        with pytest.raises(PermissionError):
            factory.create_session_manager("s", metadata_hook=[hook, veto]).update_metadata({"a": 1})
        with pytest.raises(ValueError, match="key"):
            factory.create_session_manager("s", metadata_hook=hook).update_metadata({"$a": 1})

    assert cloud.received(queue) == []


# A service that answers badly


class Received:
    """One request: what it asked for, and of which region."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        text = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        self.region = handler.headers["Authorization"].split("/")[2]
        self.json = "json" in handler.headers["Content-Type"]
        self.values: dict[str, Any] = json.loads(text) if self.json else {k: v[0] for k, v in parse_qs(text).items()}
        self.body: dict[str, Any] = json.loads(self.values["MessageBody" if self.json else "Message"])


class Endpoint(ThreadingHTTPServer):
    """Speaks as much of SNS and SQS as sending needs, and fails as often as it is told to.

    Attributes:
        script: What comes next: a status with an error code, or ``None`` to be silent; when it is used up, success.
        requests: All that came, in order.
        pause: Seconds before an answer.
        most: The most requests that were open at one time.
        most_of_a_session: The same of any one session.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.script: list[tuple[int, str] | None] = []
        self.forever: tuple[int, str] | str | None = "success"
        self.requests: list[Received] = []
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.pause = 0.0
        self.open = Counter[str]()
        self.most = self.most_of_a_session = 0

    def next(self, request: Received) -> Any:
        with self.lock:
            self.requests.append(request)
            return self.script.pop(0) if self.script else self.forever

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error here."""


class Answering(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = Received(self)
        session_id, server = request.body["session_id"], self.server
        with server.lock:
            server.open[session_id] += 1
            server.most = max(server.most, server.open.total())
            server.most_of_a_session = max(server.most_of_a_session, server.open[session_id])
        time.sleep(server.pause)
        with server.lock:  # before the answer: after it the next request may come at any time
            server.open[session_id] -= 1
        self.answer(request)

    def answer(self, request: Received) -> None:
        what = self.server.next(request)
        if what is None:
            self.server.released.wait(60)
            self.close_connection = True
            return
        status, code = (200, "") if what == "success" else what
        if request.json:
            text = json.dumps(
                {"__type": code, "message": "no"} if code else {"MessageId": "1", "MD5OfMessageBody": "x"}
            )
        elif code:
            text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"
        else:
            text = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield endpoint
        finally:
            endpoint.released.set()
            endpoint.shutdown()
            thread.join()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as endpoint:
        yield endpoint


def client_of(service: str, endpoint: Endpoint, *, read_timeout: float = 30, attempts: int = 3) -> Any:
    config = Config(read_timeout=read_timeout, retries={"mode": "standard", "total_max_attempts": attempts})
    return boto3.client(service, region_name=REGION, endpoint_url=endpoint.address, config=config)


FAILURES = [
    (400, "Throttling"),
    (500, "InternalFailure"),
    (503, "ServiceUnavailable"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_throttling_and_failures_of_the_service_are_outlived(
    factory: MongoDBSessionManagerFactory,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: tuple[int, str],
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.address)
    hooks: list[Any] = [create_feedback_sns_hook(TOPIC, TOPIC, TOPIC), create_metadata_sqs_hook(QUEUE)]
    manager = factory.create_session_manager("s", feedback_hook=hooks[0], metadata_hook=hooks[1])
    for hook, tell in zip(hooks, (manager.add_feedback, manager.update_metadata), strict=True):
        endpoint.script = [failure, failure]
        endpoint.requests.clear()
        tell({"rating": "up"})

        assert hook.close(60)
        assert hook.stats() == {"pending": 0, "delivered": 1, "failed": 0, "dropped": 0}
        assert len(endpoint.requests) == 3
        assert len({json.dumps(request.body) for request in endpoint.requests}) == 1
    assert own_records(caplog) == []


def test_the_retries_are_those_that_the_environment_asks_for(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.address)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    endpoint.forever = (500, "InternalFailure")
    hook = create_metadata_sqs_hook(QUEUE)
    hook(lambda metadata: None, "update", "s", metadata={"a": 1})
    hook.close(60)

    assert len(endpoint.requests) == 2
    assert hook.stats()["failed"] == 1


def own_records(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("mongodb_session_manager")]


@pytest.mark.parametrize(
    "failure", [(500, "InternalFailure"), (403, "AccessDenied"), (400, "InvalidParameter")], ids=str
)
def test_what_cannot_be_delivered_is_stored_all_the_same_logged_once_and_counted(
    factory: MongoDBSessionManagerFactory,
    endpoint: Endpoint,
    caplog: pytest.LogCaptureFixture,
    failure: tuple[int, str],
) -> None:
    endpoint.forever = failure
    hook = create_feedback_sns_hook(TOPIC, TOPIC, TOPIC, client=client_of("sns", endpoint, attempts=2))
    manager = factory.create_session_manager("s-1", feedback_hook=hook)
    with caplog.at_level(logging.DEBUG, "mongodb_session_manager"):
        manager.add_feedback({"rating": "up", "comment": "a private word"})
        assert hook.close(60)

    assert hook.stats() == {"pending": 0, "delivered": 0, "failed": 1, "dropped": 0}
    (line,) = own_records(caplog)
    assert "session_id=<s-1>" in line
    assert failure[1] in line
    assert "private" not in caplog.text
    assert SECRET not in caplog.text
    assert KEY not in caplog.text
    assert [each["comment"] for each in manager.get_feedbacks()] == ["a private word"]

    endpoint.forever = "success"
    manager.add_feedback({"rating": "up"})
    hook.close(60)
    assert hook.stats() == {"pending": 0, "delivered": 1, "failed": 1, "dropped": 0}


def test_without_credentials_all_is_stored_and_the_log_says_what_is_missing(
    factory: MongoDBSessionManagerFactory,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.address)
    hook = create_metadata_sqs_hook(QUEUE)
    manager = factory.create_session_manager("s", metadata_hook=hook)
    manager.update_metadata({"a": 1})
    hook.close(60)

    assert manager.get_metadata() == {"a": 1}
    assert hook.stats()["failed"] == 1
    assert "NoCredentialsError" in own_records(caplog)[0]
    assert endpoint.requests == []


def test_what_cannot_be_written_as_json_is_stored_all_the_same_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Unreadable:
        def __str__(self) -> str:
            raise RuntimeError("a private word")

    stored: list[Any] = []
    hook = create_metadata_sqs_hook(QUEUE)
    hook(stored.append, "update", "s", metadata={"a": Unreadable()})

    assert len(stored) == 1
    assert hook.stats()["failed"] == 1
    assert "private" not in caplog.text


def test_a_service_that_does_not_answer_keeps_nobody_waiting(
    factory: MongoDBSessionManagerFactory, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.forever = None
    hook = create_metadata_sqs_hook(QUEUE, client=client_of("sqs", endpoint, attempts=1), max_pending=5)
    manager = factory.create_session_manager("s", metadata_hook=hook)
    for step in range(8):
        manager.update_metadata({"step": step})
    until(lambda: len(endpoint.requests) == 1)
    assert hook.stats() == {"pending": 5, "delivered": 0, "failed": 0, "dropped": 3}
    assert len(own_records(caplog)) == 3

    assert hook.close(0.1) is False
    assert hook.stats() == {"pending": 1, "delivered": 0, "failed": 0, "dropped": 7}
    assert own_records(caplog)[3:] == ["session_id=<s>, messages=<4> | not delivered in time, dropped"]
    assert manager.get_metadata() == {"step": 7}

    endpoint.forever = "success"
    endpoint.released.set()
    assert hook.close(60)
    manager.update_metadata({"step": 8})
    assert hook.close(60)
    assert hook.stats()["delivered"] == 1
    assert [request.body["metadata"] for request in endpoint.requests] == [{"step": 0}, {"step": 8}]


def test_a_request_without_an_answer_is_given_up(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    endpoint.script = [None, None]
    hook = create_metadata_sqs_hook(QUEUE, client=client_of("sqs", endpoint, read_timeout=1.5, attempts=2))
    for step in range(2):
        hook(lambda metadata: None, "update", "s", metadata={"step": step})

    assert hook.close(60)
    assert hook.stats() == {"pending": 0, "delivered": 1, "failed": 1, "dropped": 0}
    assert "ReadTimeoutError" in own_records(caplog)[0]
    assert [request.body["metadata"]["step"] for request in endpoint.requests] == [0, 0, 1]


def test_one_session_is_told_in_order_while_several_are_told_at_once(endpoint: Endpoint) -> None:
    endpoint.pause = 0.01
    endpoint.script = [(500, "InternalFailure")] * 3
    hook = create_metadata_sqs_hook(QUEUE, client=client_of("sqs", endpoint))
    sessions = ["a", "b", "c"]
    for step in range(20):
        for session_id in sessions:
            hook(lambda metadata: None, "update", session_id, metadata={"step": step})
    assert hook.close(60)

    arrived = [(request.body["session_id"], request.body["metadata"]["step"]) for request in endpoint.requests]
    for session_id in sessions:
        steps = [step for session, step in arrived if session == session_id]
        assert sorted(steps) == steps, "a message overtook another one of its session"
        assert sorted({*steps}) == list(range(20))
    assert hook.stats()["delivered"] == 60
    assert (endpoint.most_of_a_session, endpoint.most) == (1, 3)


def test_no_more_than_four_are_under_way_at_once(endpoint: Endpoint) -> None:
    endpoint.pause = 0.05
    hook = create_metadata_sqs_hook(QUEUE, client=client_of("sqs", endpoint))
    for number in range(20):
        hook(lambda metadata: None, "update", f"s{number}", metadata={"a": 1})
    assert hook.close(60)

    assert endpoint.most == 4
    assert hook.stats()["delivered"] == 20


def test_a_session_that_hangs_holds_up_no_other(endpoint: Endpoint) -> None:
    endpoint.script = [None]
    hook = create_metadata_sqs_hook(QUEUE, client=client_of("sqs", endpoint, attempts=1))
    hook(lambda metadata: None, "update", "hangs", metadata={"a": 1})
    until(lambda: endpoint.requests)
    for number in range(20):
        hook(lambda metadata: None, "update", f"s{number}", metadata={"a": 1})
    until(lambda: hook.stats()["delivered"] == 20)

    assert hook.stats()["pending"] == 1
    endpoint.released.set()
    hook.close(60)


async def test_closing_can_be_awaited(endpoint: Endpoint) -> None:
    hook = create_metadata_sqs_hook(QUEUE, client=client_of("sqs", endpoint))
    hook(lambda metadata: None, "update", "s", metadata={"a": 1})

    assert await asyncio.wait_for(hook.aio.close(30), 60)
    assert await hook.aio.close()
    assert hook.stats()["delivered"] == 1


# The end of a process, and a process that forks

SCRIPT = """
import os, sys, warnings
from mongodb_session_manager import MongoDBSessionManagerFactory, create_metadata_sqs_hook

hook = create_metadata_sqs_hook(os.environ["QUEUE"])
factory = MongoDBSessionManagerFactory(os.environ["MONGODB"], "tests", os.environ["COLLECTION"])
"""

ENDING = """
manager = factory.create_session_manager("s", metadata_hook=hook)
for step in range(5):
    manager.update_metadata({"step": step})
print("the end", flush=True)
"""

FORKING = """
hook(lambda metadata: None, "update", "s", metadata={"of": "parent, before"})
hook.close()
hook(lambda metadata: None, "update", "s", metadata={"of": "parent, under way"})
warnings.simplefilter("ignore")
child = os.fork()
hook(lambda metadata: None, "update", "s", metadata={"of": "parent, after" if child else "child"})
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert hook.close() and hook.stats()["delivered"] == 3, hook.stats()
else:
    assert hook.close() and hook.stats()["delivered"] == 1, hook.stats()
    os._exit(0)
"""


def run_script(code: str, mongo_uri: str, collection: Any, queue: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parent.parent / "src")
    return subprocess.run(
        [sys.executable, "-c", SCRIPT + code],
        env={**os.environ, "PYTHONPATH": source, "MONGODB": mongo_uri, "COLLECTION": collection.name, "QUEUE": queue},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_that_ends_delivers_what_is_under_way(mongo_uri: str, collection: Any, cloud: Cloud) -> None:
    queue = cloud.queue(fifo=True)
    ended = run_script(ENDING, mongo_uri, collection, queue)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")
    assert [each["metadata"]["step"] for each in cloud.received(queue)] == list(range(5))


def test_a_process_ends_though_the_service_does_not_answer(
    mongo_uri: str, collection: Any, stored: Stored, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.address)
    endpoint.forever = None
    ended = run_script(ENDING, mongo_uri, collection, QUEUE)

    assert (ended.returncode, ended.stdout) == (0, "the end\n")
    assert "session_id=<s>, messages=<4> | not delivered in time, dropped" in ended.stderr
    assert "pending=<1> | the process ends while messages are sent" in ended.stderr
    assert len(endpoint.requests) == 1
    assert stored("s")["metadata"] == {"step": 4}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_sends_its_own_messages_and_none_of_its_parents(
    mongo_uri: str, collection: Any, cloud: Cloud
) -> None:
    queue = cloud.queue()
    ended = run_script(FORKING, mongo_uri, collection, queue)

    assert (ended.returncode, ended.stderr) == (0, "")
    told = sorted(each["metadata"]["of"] for each in cloud.received(queue))
    assert told == ["child", "parent, after", "parent, before", "parent, under way"]


# Arguments


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "wrong", ["", "feedback", "arn:aws:sqs:eu-west-1:123456789012:q", "arn:aws:sns::1:t", f"{TOPIC} ", None, 7, "None"]
)
def test_what_is_no_topic_is_refused_by_the_name_of_the_argument(place: int, wrong: Any) -> None:
    arguments = [TOPIC, TOPIC, TOPIC]
    arguments[place] = wrong
    name = ("topic_arn_good", "topic_arn_bad", "topic_arn_neutral")[place]
    with pytest.raises(ValueError, match=f"{name} must be an ARN"):
        create_feedback_sns_hook(*arguments)


@pytest.mark.parametrize(
    "wrong", ["", "changes", "sqs.eu-west-1.amazonaws.com/1/q", "ftp://host/q", "https://host", None]
)
def test_what_is_no_queue_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="queue_url must be one such as"):
        create_metadata_sqs_hook(wrong)


@pytest.mark.parametrize(("wrong", "error"), [("status", TypeError), ([1], TypeError), (["a", ""], ValueError)])
def test_what_is_no_choice_of_fields_is_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="metadata_fields"):
        create_metadata_sqs_hook(QUEUE, wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "many"])
def test_what_is_no_number_of_messages_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="max_pending"):
        MetadataSQSHook(QUEUE, max_pending=wrong)
    with pytest.raises(ValueError, match="max_pending"):
        FeedbackSNSHook(TOPIC, TOPIC, TOPIC, max_pending=wrong)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (QUEUE, REGION),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/q", "us-gov-west-1"),
        ("https://vpce-1-2.sqs.us-east-2.vpce.amazonaws.com/123456789012/q", "us-east-2"),
        ("https://us-west-1.queue.amazonaws.com/123456789012/q", "us-west-1"),
        ("http://localhost:4566/000000000000/q", "af-south-1"),
        ("http://sqs:9324/queue/q", "af-south-1"),
    ],
)
def test_the_region_is_the_queues_or_the_environments(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, url: str, region: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.address)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "af-south-1")
    with draining(create_metadata_sqs_hook(url)) as hook:
        hook(lambda metadata: None, "update", "s", metadata={"a": 1})

    assert [(each.region, each.values["QueueUrl"]) for each in endpoint.requests] == [(region, url)]


def test_a_queue_whose_region_nobody_knows_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="set AWS_DEFAULT_REGION"):
        create_metadata_sqs_hook("http://localhost:4566/000000000000/q")


def test_making_a_hook_connects_to_nothing(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.address)
    before = threading.active_count()
    create_feedback_sns_hook(TOPIC, TOPIC, TOPIC)
    create_metadata_sqs_hook(QUEUE)

    assert threading.active_count() == before
    assert endpoint.requests == []


def test_the_older_spelling_takes_them_too(mongo_uri: str, collection: Any, endpoint: Endpoint) -> None:
    hook = create_metadata_sqs_hook(QUEUE, client=client_of("sqs", endpoint))
    options: dict[str, Any] = {"metadataHook": hook}
    with pytest.warns(DeprecationWarning, match="metadataHook"):
        manager = MongoDBSessionManager("s", mongo_uri, "tests", collection.name, **options)
    with manager, hook:
        manager.update_metadata({"a": 1})

    assert hook.stats()["delivered"] == 1
