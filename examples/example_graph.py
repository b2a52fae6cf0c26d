"""A graph that is killed in its middle and goes on in another process, with nothing that was finished done again.

    pip install "mongodb-session-manager[embedded]"
    python examples/example_graph.py

runs the graph in a process that is killed while the second node works, and then here. MONGODB_URI names a server;
without it an embedded MongoDB is run in .data/examples. MODEL_ID names a model on Bedrock; without it an answer is
made up here. In an application of yours there is only `report(…)`, called again for the same session.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from itertools import pairwise

from strands import Agent
from strands.hooks import BeforeNodeCallEvent
from strands.multiagent import GraphBuilder
from strands.multiagent.graph import Graph, GraphResult

from mongodb_session_manager import MongoDBSessionManagerFactory, SessionBusyError
from mongodb_session_manager.embedded import EmbeddedMongoDB
from mongodb_session_manager.testing import ScriptedModel

NODES = ("research", "write", "review")
TURN_SECONDS = 2.0
"""After so long a killed process' turn is free. The default is 30 seconds; this is short for the sake of the show."""


def report(factory: MongoDBSessionManagerFactory, session_id: str) -> Graph:
    builder = GraphBuilder()
    for name in NODES:
        model = os.environ.get("MODEL_ID") or ScriptedModel(f"the {name} is done")
        builder.add_node(Agent(model=model, name=name, callback_handler=None), name)
    for before, after in pairwise(NODES):
        builder.add_edge(before, after)
    builder.set_graph_id("report").set_execution_timeout(600)
    builder.set_session_manager(factory.create_session_manager(session_id, turn_timeout=TURN_SECONDS))
    graph = builder.build()
    graph.add_hook(begins)
    return graph


def begins(event: BeforeNodeCallEvent) -> None:
    print(f"{event.node_id} begins", flush=True)
    if event.node_id == os.environ.get("DIE_IN"):
        os.kill(os.getpid(), signal.SIGKILL)


def finished(graph: Graph, task: str) -> GraphResult:
    """Ask the graph, as soon as the turn of the killed process is free."""
    while True:
        try:
            return graph(task)
        except SessionBusyError:
            time.sleep(0.5)


def main(uri: str, session_id: str) -> None:
    database = os.environ.get("DATABASE_NAME", "examples")
    with MongoDBSessionManagerFactory(uri, database, "sessions", minPoolSize=0) as factory:
        if "DIE_IN" not in os.environ:
            doomed = {**os.environ, "MONGODB_URI": uri, "DIE_IN": "write"}
            subprocess.run([sys.executable, __file__, session_id], env=doomed, check=False)
            print("killed", flush=True)
        result = finished(report(factory, session_id), "Write about tides")
        print(f"{result.status.value}: {', '.join(node.node_id for node in result.execution_order)}")


if __name__ == "__main__":
    session_id = sys.argv[1] if len(sys.argv) > 1 else f"report-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        uri = os.environ.get("MONGODB_URI") or stack.enter_context(EmbeddedMongoDB(".data/examples")).uri
        main(uri, session_id)
