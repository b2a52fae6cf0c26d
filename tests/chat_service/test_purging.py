"""Expired sessions go by themselves."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from chat_service.purging import purge_forever
from mongodb_session_manager import MongoDBSessionManagerFactory


async def test_expired_sessions_are_removed_again_and_again(
    mongo_client: MongoClient[Any], collection: Collection[Any]
) -> None:
    factory = MongoDBSessionManagerFactory(
        client=mongo_client, database_name=collection.database.name, collection_name=collection.name
    )
    purging = asyncio.create_task(purge_forever(factory, 0.05))
    for name in ("first", "second"):
        await factory.sessions.aio.create(name)
        await factory.sessions.aio.create(f"{name}, kept")
        await factory.sessions.aio.expire(name, 0.05)
        async with asyncio.timeout(10):
            while await asyncio.to_thread(collection.count_documents, {"_id": name}):
                await asyncio.sleep(0.02)
    purging.cancel()

    assert await asyncio.to_thread(collection.count_documents, {}) == 2


async def test_a_purge_that_fails_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with MongoDBSessionManagerFactory("mongodb://127.0.0.1:9", serverSelectionTimeoutMS=50) as factory:
        with caplog.at_level(logging.WARNING, "chat_service.purging"):
            purging = asyncio.create_task(purge_forever(factory, 0.05))
            async with asyncio.timeout(10):
                while len(caplog.messages) < 2:
                    await asyncio.sleep(0.02)
            purging.cancel()
    assert caplog.messages[0] == "error=<ServerSelectionTimeoutError> | expired sessions could not be purged"
