"""`fivefold serve --traces` in processes of their own, with an exporter of OpenTelemetry's SDK that writes to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fivefold import Counter
from tests.integration.rig import Site, client, running, until

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry is not installed: pip install -e '.[dev]'")

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.ci, pytest.mark.timeout(120)]

AGENT = """
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

spans = open(os.path.join(os.environ["SPANS"], f"{os.getpid()}.json"), "a", buffering=1)
exporter = ConsoleSpanExporter(out=spans, formatter=lambda span: span.to_json(indent=None) + "\\n")
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=50))
trace.set_tracer_provider(provider)
"""
"""Does for each process what ``opentelemetry-instrument`` does: Python runs it at the start."""


async def test_spans_of_real_servers_reach_an_exporter(tmp_path: Path) -> None:
    """Each server of the quorum exports a span of the client's trace, with the call's name and no argument."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    own, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(own))
    (tmp_path / "sitecustomize.py").write_text(AGENT, encoding="utf-8")
    spans = tmp_path / "spans"
    spans.mkdir()
    agent = ("env", f"PYTHONPATH={tmp_path}", f"SPANS={spans}")
    options = {"prefix": lambda index: agent, "arguments": lambda index: ("--traces",)}
    site = Site(tmp_path / "site", t=1, b=0, memory=True, **options)

    def exported() -> list[dict]:
        lines = [line for file in spans.iterdir() for line in file.read_text().splitlines() if line.endswith("}")]
        return [span for span in map(json.loads, lines) if span["name"] == "fivefold increment"]

    with running(site):
        async with client(site, tracer=provider.get_tracer("shop")) as cluster:
            await cluster.object(Counter, "hits").increment(by=77_777)
            quorum = cluster.quorums.q
        await until(lambda: len(exported()) >= quorum, "the servers' spans are exported")
    (call,) = [span for span in own.get_finished_spans() if span.name == "fivefold increment"]
    assert {int(span["context"]["trace_id"], 16) for span in exported()} == {call.context.trace_id}
    servers = [span["attributes"]["fivefold.server"] for span in exported()]
    assert len(set(servers)) == len(servers) >= quorum
    assert {span["attributes"]["fivefold.status"] for span in exported()} == {"success"}
    assert "77777" not in "".join(file.read_text() for file in spans.iterdir())
