"""Sphinx configuration: `sphinx-build -W -b html docs build/docs`."""

import os
import subprocess
import sys
from html import escape
from importlib.metadata import version as version_of
from pathlib import Path

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

project = "Fivefold"
author = "The Fivefold authors"
copyright = "The Fivefold authors"
release = version_of("fivefold")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"Fivefold {release}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["fivefold.css"]

copybutton_prompt_text = "$ "
"""What is copied of a console block: its commands, without the prompt."""


class CommandHelp(SphinxDirective):
    """``{command-help}``: what every command of ``fivefold`` prints for ``--help``, a section each."""

    def run(self) -> list[nodes.Node]:
        """Walk the tree of commands."""
        from fivefold.cli.app import app

        return [section for path in _paths(typer.main.get_command(app), ()) for section in [_section(path)]]


def _paths(command: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [path]
    return [found for name, each in inner.items() for found in _paths(each, (*path, name))]


def _section(path: tuple[str, ...]) -> nodes.section:
    name = " ".join(("fivefold", *path))
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "fivefold", *path, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    text = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    section = nodes.section(ids=[name.replace(" ", "-")])
    section += nodes.title(text=name)
    section += nodes.literal_block(text, text, language="text")
    return section


class Played(SphinxDirective):
    """``{played} NAME``: a scenario of ``fivefold play`` as a picture, which opens the page that plays it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Run the scenario, and write its page and its picture beside the static files."""
        from fivefold.play import Chapter, page, picture, record, tell

        name = self.arguments[0]
        story = tell(record(name))
        folder = Path(self.env.app.outdir) / "_static" / "play"
        folder.mkdir(parents=True, exist_ok=True)
        text = page([Chapter("The paper", story)], version=release, docs="../..")
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
        (folder / f"{name}.svg").write_text(picture(story), encoding="utf-8")
        place = "../" * self.env.docname.count("/") + f"_static/play/{name}"
        said = escape(f"{story.title}: lanes, messages and what servers accept", quote=True)
        image = f'<img src="{place}.svg" alt="{said}">'
        link = f'<a class="play" href="{place}.html">Play it: {escape(story.title)}</a>'
        return [nodes.raw("", f'<p class="played"><a href="{place}.html">{image}</a><br>{link}</p>', format="html")]


def setup(app: Sphinx) -> None:
    """Register the directives."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("played", Played)
