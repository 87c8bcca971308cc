"""The wire as an AsyncAPI 3.0 document, and as pages for people: everything a tool needs that knows nothing of us.

`document()` and `page()` are for whoever serves them. They are made from the table of subjects, the models, and
`facts.json`, which `make snapshots` writes: who receives what, as the services subscribe, and one example of every message.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from bumpless.common.asyncapi.build import build
from bumpless.common.asyncapi.pages import html, markdown

__all__ = ["document", "page", "text"]


@cache
def _document() -> str:
    facts = json.loads(files(__name__).joinpath("facts.json").read_text())
    return json.dumps(build(facts["examples"], facts["receivers"]))


def document() -> dict[str, Any]:
    """The document, in JSON types."""
    found: dict[str, Any] = json.loads(_document())
    return found


def text() -> str:
    """The document for people, in Markdown."""
    return markdown(document())


def page(stylesheet: str | None = None) -> str:
    """The document for people: a whole HTML page without scripts and without styles of its own."""
    return html(document(), stylesheet)
