"""The document as text for people: Markdown for the pages of this project, HTML for whoever serves it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """Sentences; `code` and **strong** as in Markdown."""

    text: str


@dataclass(frozen=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    text: str


Block = Heading | Text | Table | Code


def markdown(document: dict[str, Any]) -> str:
    return "\n\n".join(_as_markdown(block) for block in blocks(document)) + "\n"


def html(document: dict[str, Any], stylesheet: str | None) -> str:
    link = f'<link rel="stylesheet" href="{escape(stylesheet)}">' if stylesheet else ""
    names = set(document["components"]["messages"])
    body = re.sub(
        r"<code>([\w.-]+)</code>",
        lambda found: f'<a href="#{_anchor(found[1])}">{found[0]}</a>' if found[1] in names else found[0],
        "\n".join(_as_html(block) for block in blocks(document)),
    )
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}: events</title>{link}</head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def blocks(document: dict[str, Any]) -> Iterator[Block]:
    """What there is to say, in order: how it works, where everything travels, and every message."""
    yield Heading(1, f"{document['info']['title']}: events and messages")
    for paragraph in document["info"]["description"].strip().split("\n\n"):
        yield Text(" ".join(paragraph.split()))
    yield Heading(2, "Channels")
    yield Table(("Address", "Stream", "Messages", "From", "To"), list(_channels(document)))
    yield Heading(2, "Messages")
    for name, message in sorted(document["components"]["messages"].items()):
        yield from _message(name, message, document["components"]["schemas"])


def _channels(document: dict[str, Any]) -> Iterator[Sequence[str]]:
    for name, channel in sorted(document["channels"].items()):
        parties = [
            operation
            for operation in document["operations"].values()
            if operation["channel"]["$ref"] == f"#/channels/{name}"
        ]
        senders = dict.fromkeys(who for operation in parties for who in operation.get("x-senders", ()))
        readers = dict.fromkeys(who for operation in parties for who in operation.get("x-receivers", ()))
        yield (
            f"`{channel['address']}`",
            channel.get("x-jetstream", {}).get("stream", ""),
            ", ".join(f"`{message}`" for message in channel["messages"]),
            ", ".join(senders),
            ", ".join(readers),
        )


def _message(name: str, message: dict[str, Any], schemas: dict[str, Any]) -> Iterator[Block]:
    yield Heading(3, name)
    yield Text(message["description"])
    reference = message.get("x-signed-payload", message["payload"])["$ref"]
    schema = schemas[reference.rpartition("/")[2]]
    required = set(schema.get("required", ()))
    rows = [
        (f"`{field}`", kind(about), "yes" if field in required else "", about.get("description", ""))
        for field, about in schema.get("properties", {}).items()
    ]
    if rows:
        yield Table(("Field", "Type", "Required", "Meaning"), rows)
    for example in message.get("examples", ()):
        yield Code(json.dumps(example["payload"], indent=2, ensure_ascii=False))


def kind(schema: dict[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(kind(part) for part in schema[word]))
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {kind(items)}" if isinstance(items, dict) else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {kind(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("type") or "any")


def _as_markdown(block: Block) -> str:
    match block:
        case Heading():
            return "#" * block.level + " " + block.text
        case Text():
            return block.text
        case Code():
            return f"```json\n{block.text}\n```"
        case Table():
            lines = [block.columns, ["---"] * len(block.columns), *block.rows]
            return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _as_html(block: Block) -> str:
    match block:
        case Heading():
            return f'<h{block.level} id="{_anchor(block.text)}">{escape(block.text)}</h{block.level}>'
        case Text():
            return f"<p>{_inline(block.text)}</p>"
        case Code():
            return f'<pre tabindex="0"><code>{escape(block.text)}</code></pre>'
        case Table():
            head = "".join(f'<th scope="col">{escape(column)}</th>' for column in block.columns)
            rows = "".join(
                "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in block.rows
            )
            return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _inline(text: str) -> str:
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    found = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", found)
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", found)
