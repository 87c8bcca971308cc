"""The reference of all commands, made of the commands themselves: Markdown for the documentation, and man pages.

python -m bumpless.cli.reference man FOLDER
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from bumpless.cli.answers import ANSWERS, Answer
from bumpless.cli.commands import command
from bumpless.cli.lazy import LazyCommand

SECTION = 1
SCHEMAS = "docs/schemas/commands"


@dataclass(frozen=True)
class Param:
    """An argument or an option: how it is written, and what it does."""

    term: str
    help: str


@dataclass(frozen=True)
class Page:
    """One command. `name` without `bumpless`; `text` are the paragraphs of its help, without the examples."""

    name: str
    usage: str
    text: tuple[str, ...]
    examples: tuple[str, ...]
    arguments: tuple[Param, ...]
    options: tuple[Param, ...]
    answer: Answer


def pages() -> list[Page]:
    """Every command, in the order of the help."""
    return [_page(name, leaf) for name, leaf in leaves(command())]


def leaves(group: TyperGroup, before: str = "") -> Iterator[tuple[str, TyperCommand]]:
    """Every command by its whole name, without groups."""
    for name, found in group.commands.items():
        loaded = found.load() if isinstance(found, LazyCommand) else found
        if isinstance(loaded, TyperGroup):
            yield from leaves(loaded, f"{before}{name} ")
        elif isinstance(loaded, TyperCommand):
            yield before + name, loaded


def shared() -> tuple[Param, ...]:
    """The options of `bumpless` itself."""
    return tuple(_params(command())[1])


def _page(name: str, leaf: TyperCommand) -> Page:
    paragraphs = [" ".join(part.split()) for part in (leaf.help or "").split("\n\n")]
    examples = tuple(p.removeprefix("Example: ") for p in paragraphs if p.startswith("Example: "))
    arguments, options = _params(leaf)
    words = " ".join(param.term for param in arguments)
    usage = f"bumpless {name}{' [OPTIONS]' if options else ''}{' ' if words else ''}{words}"
    text = tuple(p for p in paragraphs if not p.startswith("Example: "))
    return Page(name, usage, text, examples, tuple(arguments), tuple(options), ANSWERS[name])


def _params(of: TyperCommand | TyperGroup) -> tuple[list[Param], list[Param]]:
    arguments: list[Param] = []
    options: list[Param] = []
    for param in of.params:
        if getattr(param, "hidden", False):
            continue
        told = str(getattr(param, "help", "") or "")
        if param.param_type_name == "argument":
            term = str(param.metavar or (param.name or "").upper())
            many = "..." if param.nargs == -1 else ""
            arguments.append(Param(f"{term}{many}" if param.required else f"[{term}]{many}", told))
        else:
            options.append(Param(_written(param), told + _default(param)))
    return arguments, options


def _written(param: Any) -> str:
    flags = ", ".join([*param.opts, *param.secondary_opts])
    if param.is_flag:
        return flags
    kind = param.type_descriptor.annotation
    choices = [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
    shown = param.metavar or "|".join(choices) or (param.name or "").upper()
    return f"{flags} {shown}" + ("..." if param.multiple else "")


def _default(param: Any) -> str:
    found = []
    if param.required:
        found.append("required")
    default = getattr(param.default, "value", param.default)
    if not param.is_flag and isinstance(default, str | int | float) and default != "":
        found.append(f"default: {default}")
    if param.envvar:
        found.append(f"{param.envvar} in the environment")
    return f" [{'; '.join(found)}]" if found else ""


def schema_file(name: str) -> str:
    return f"{SCHEMAS}/{name.replace(' ', '-')}.json"


def schemas() -> Mapping[str, dict[str, Any]]:
    """The schema of every command that prints JSON, by the file that holds it."""
    found = ((name, answer.document()) for name, answer in ANSWERS.items())
    return {schema_file(name): {**schema, "title": f"bumpless {name}"} for name, schema in found if schema}


# Markdown


def markdown() -> str:
    """The page of the documentation; it stands in `docs/reference`."""
    lines = [
        "# Command reference",
        "",
        "Made of the commands by `make snapshots`; not written by hand. By task: [commands](../commands.md).",
        "",
        "## Options of every command",
        "",
        *_table("Option", shared()),
    ]
    for page in pages():
        lines += ["", f"## bumpless {page.name}", "", *_joined(page.text)]
        lines += ["```text", page.usage, "```", ""]
        for title, params in (("Argument", page.arguments), ("Option", page.options)):
            lines += [*_table(title, params), ""] if params else []
        lines += ["```bash", *page.examples, "```", "", "| Exit code | Means |", "|---|---|"]
        lines += [f"| {code} | {_cell(text)} |" for code, text in sorted(page.answer.exits.items())]
        lines += ["", _output(page)]
    return "\n".join(lines) + "\n"


def _output(page: Page) -> str:
    if page.answer.schema is None:
        return "It prints no JSON."
    link = schema_file(page.name).removeprefix("docs/")
    each = "one document a line, each as in" if page.answer.lines else "as in"
    return f"`--output json`: {each} [{link}](../{link})."


def _joined(text: tuple[str, ...]) -> list[str]:
    return [line for paragraph in text for line in (_plain(paragraph), "")]


def _table(title: str, params: tuple[Param, ...]) -> list[str]:
    rows = [f"| `{_cell(param.term)}` | {_cell(_plain(param.help))} |" for param in params]
    return [f"| {title} | |", "|---|---|", *rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """Nothing of it is markup."""
    return re.sub(r"([<>*_])(?![^`]*`(?:[^`]*`[^`]*`)*[^`]*$)", r"\\\1", text)


# man


def man_pages() -> Mapping[str, str]:
    """Name of the file to its text: one page for `bumpless`, and one for each command."""
    found = pages()
    listed = [f".TP\n.BR bumpless\\-{_dashed(p.name)} ({SECTION})\n{_roff(p.text[0])}" for p in found]
    about = "upgrade a running product on many nodes, and take it back"
    first = _man("bumpless", about, "bumpless [OPTIONS] COMMAND [ARGS]...")
    first += [*_options("OPTIONS", shared()), ".SH COMMANDS", *listed]
    texts = {f"bumpless.{SECTION}": "\n".join(first) + "\n"}
    for page in found:
        texts[f"bumpless-{page.name.replace(' ', '-')}.{SECTION}"] = _man_page(page)
    return texts


def _man_page(page: Page) -> str:
    lines = _man(f"bumpless-{page.name.replace(' ', '-')}", page.text[0], page.usage)
    lines += [".SH DESCRIPTION", *(line for p in page.text for line in (".PP", _roff(p)))]
    lines += _options("ARGUMENTS", page.arguments) + _options("OPTIONS", page.options)
    codes = tuple(Param(str(code), text) for code, text in sorted(page.answer.exits.items()))
    lines += _options("EXIT STATUS", codes)
    lines += [".SH EXAMPLES"]
    for example in page.examples:
        lines += [".nf", _roff(example), ".fi"]
    lines += [".SH SEE ALSO", f".BR bumpless ({SECTION})"]
    return "\n".join(lines) + "\n"


def _man(name: str, about: str, usage: str) -> list[str]:
    title = f'.TH "{_dashed(name).upper()}" "{SECTION}" "" "Bumpless" "Bumpless"'
    return [title, ".SH NAME", f"{_dashed(name)} \\- {_roff(about)}", ".SH SYNOPSIS", _roff(usage)]


def _options(title: str, params: tuple[Param, ...]) -> list[str]:
    if not params:
        return []
    return [
        f".SH {title}",
        *(line for p in params for line in (".TP", f"\\fB{_roff(p.term)}\\fR", _roff(p.help or "."))),
    ]


def _dashed(name: str) -> str:
    return name.replace(" ", "-").replace("-", "\\-")


def _roff(text: str) -> str:
    """Text that roff takes as it is: nothing of it is a request or an escape."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return "\\&" + safe if safe.startswith((".", "'")) else safe


def main() -> None:
    if sys.argv[1:2] != ["man"] or len(sys.argv) != 3:
        sys.exit("expected: python -m bumpless.cli.reference man FOLDER")
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in man_pages().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    print(json.dumps({"pages": len(man_pages()), "folder": str(folder)}))


if __name__ == "__main__":
    main()
