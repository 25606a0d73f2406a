"""What the demo shows while it runs: what happens, the servers as lights, a progress bar, the latest latencies."""

from __future__ import annotations

import time
from enum import Enum
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from fivefold.cli.demo.recorder import Recorder
from fivefold.cli.output import marked, out, seconds_text

LATEST_CALLS: Final = 200


class Light(Enum):
    """How a server stands, with its sign and colour."""

    OFF = ("○", "dim")
    UP = ("●", "green")
    KILLED = ("✗", "bold red")
    LIES = ("☠", "bold magenta")


class Display:
    """Live on a terminal; lines of text anywhere else."""

    def __init__(self, n: int, recorder: Recorder, seconds: float, *, quiet: bool) -> None:
        """Show ``n`` servers and the calls of ``recorder`` over about ``seconds``; nothing if ``quiet``."""
        self.lights = [Light.OFF] * n
        self._recorder = recorder
        self._quiet = quiet
        self._start = time.monotonic()
        columns = (TextColumn("[bold]{task.description}"), BarColumn(bar_width=40), TimeElapsedColumn())
        self._progress = Progress(*columns, console=out)
        self._task = self._progress.add_task("setting up", total=seconds)
        is_live = out.is_terminal and not quiet
        self._live = Live(console=out, refresh_per_second=8, get_renderable=self._render) if is_live else None

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Tell what happens, with the time since the start."""
        if not self._quiet:
            elapsed = f"{time.monotonic() - self._start:5.1f}"
            out.print(marked("[dim]{} s[/]  ", elapsed) + Text.from_markup(text))

    def chapter(self, title: str) -> None:
        """What the bar says from now on."""
        self._progress.update(self._task, description=f"{title:<24}")

    def advance(self, seconds: float) -> None:
        """Move the bar."""
        self._progress.advance(self._task, seconds)

    def _render(self) -> Group:
        lights = Text("servers  ")
        for index, light in enumerate(self.lights):
            sign, style = light.value
            lights.append(f"{index} {sign}  ", style=style)
        return Group(lights, self._progress, self._latest())

    def _latest(self) -> Text:
        text = f"calls    {len(self._recorder.history)}"
        latest = sorted(self._recorder.chapters[-1].taken_ns[-LATEST_CALLS:]) if self._recorder.chapters else []
        if latest:
            middle, high = latest[len(latest) // 2], latest[min(len(latest) - 1, len(latest) * 99 // 100)]
            text += f", of the latest {len(latest)}: p50 {seconds_text(middle / 1e9)}, p99 {seconds_text(high / 1e9)}"
        return Text(text, style="dim")
