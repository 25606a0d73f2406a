"""Prometheus' own tool reads what real servers show, and runs the alert rules over it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml  # noqa: TID251 - files of Prometheus'
from prometheus_client.parser import text_string_to_metric_families

from fivefold import Counter
from fivefold.cluster import free_addresses
from tests.integration.rig import ROOT, Site, client, running

PROMTOOL = shutil.which("promtool")
RULES = ROOT / "docs" / "monitoring" / "alerts.yml"

pytestmark = [
    pytest.mark.long,
    pytest.mark.ci,
    pytest.mark.integration,
    pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool: apt-get install prometheus"),
]


def promtool(*arguments: str, text: str = "") -> str:
    found = subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def read(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics") as page:
        return page.read().decode()


async def scrapes_of_a_working_cluster(directory: Path) -> dict[str, str]:
    """By instance; each server has done something, and has looked at its disk."""
    metrics = free_addresses(6)
    site = Site(directory / "site", arguments=lambda index: ("--metrics", metrics[index]))
    with running(site):
        async with client(site) as cluster:
            for number in range(20):
                await cluster.object(Counter, f"c{number}").increment()
            async with asyncio.timeout(60):
                while True:
                    found = {address: await asyncio.to_thread(read, address) for address in metrics}
                    if all("\nfivefold_disk_free_bytes " in text for text in found.values()):
                        return found
                    await asyncio.sleep(0.2)


def series(scrapes: dict[str, str]) -> list[dict[str, str]]:
    """Every sample of every server, the same for half an hour."""
    found = []
    for instance, text in scrapes.items():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = {**sample.labels, "instance": instance, "job": "fivefold"}
                shown = ",".join(f'{name}="{value}"' for name, value in labels.items())
                found.append({"series": f"{sample.name}{{{shown}}}", "values": f"{sample.value}+0x30"})
    return found


def check(directory: Path, scrapes: dict[str, str], *firing: str) -> None:
    """Run all rules over the series; exactly these alerts fire."""
    names = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    tests = []
    for name in names:
        expected: list[dict] = []
        if name in firing:
            labels = {"severity": "page"}
            expected = [{"exp_labels": labels, "exp_annotations": {"summary": firing_text(len(scrapes))}}]
        tests.append({"eval_time": "25m", "alertname": name, "exp_alerts": expected})
    file = directory / f"test-{len(scrapes)}.yml"
    run = {"interval": "1m", "input_series": series(scrapes), "alert_rule_test": tests}
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [run]}))
    promtool("test", "rules", str(file))


def firing_text(count: int) -> str:
    return f"{count} of six servers are well: one more failure stops all calls."


async def test_promtool_takes_the_metrics_and_runs_the_rules_on_them(tmp_path: Path) -> None:
    """No lint in a scrape; no alert for a cluster that is well; with a server missing, the alert that none may fail."""
    scrapes = await scrapes_of_a_working_cluster(tmp_path)
    await asyncio.to_thread(promtool, "check", "rules", str(RULES))
    await asyncio.to_thread(promtool, "check", "metrics", text=next(iter(scrapes.values())))
    await asyncio.to_thread(check, tmp_path, scrapes)
    del scrapes[next(iter(scrapes))]
    await asyncio.to_thread(check, tmp_path, scrapes, "FivefoldNoFailureLeft")
