"""What is wrong in a configuration file: where, what was expected, what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema.exceptions import ValidationError

from bumpless.common.model.finding import Code, Finding, Severity
from bumpless.common.model.version import Version


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file: on `line` (from 1), at `key` (empty: the file itself)."""

    line: int
    key: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.key or 'the file'}: expected {self.expected}, found {self.found}"


class ConfigInvalid(ValueError):
    """A file does not fit a version, or cannot be carried to one; `problems` in the order of the lines."""

    def __init__(self, file: str, version: Version, problems: tuple[Problem, ...]) -> None:
        self.file, self.version = file, version
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.key)))
        super().__init__("\n".join(f"{file}:{p.line}: {p}" for p in self.problems))


def invalid(file: str, problem: Problem) -> Finding:
    return Finding(
        code=Code.CONFIG_INVALID,
        severity=Severity.BLOCK,
        subject=f"{file}:{problem.line}: {problem.key or 'the file'}",
        evidence=f"expected {problem.expected}, found {problem.found}",
        recommendation=f"correct line {problem.line} of {file}",
    )


def line_of(lines: Mapping[str, int], path: str) -> int:
    """Of the innermost part of `path` that the file has."""
    while path:
        if path in lines:
            return lines[path]
        path = path.rpartition(".")[0]
    return 1


def problem_of(error: ValidationError, lines: Mapping[str, int]) -> Problem:
    parts = [str(part) for part in error.absolute_path]
    key = ".".join(parts)
    schema: Any = error.schema
    value: Any = error.validator_value
    instance: Any = error.instance
    found = repr(instance)
    match error.validator:
        case "required":
            missing = next((n for n in value if n not in instance and repr(n) in error.message), "")
            key = ".".join([*parts, missing])
            expected, found = "a value", "none"
        case "additionalProperties" if value is False:
            extra = [n for n in instance if n not in schema.get("properties", {})]
            key = ".".join([*parts, extra[0]]) if extra else key
            expected, found = (
                f"one of {', '.join(schema.get('properties', {})) or 'no names'}",
                ", ".join(extra),
            )
        case "type":
            expected = " or ".join(value) if isinstance(value, list) else str(value)
        case "enum":
            expected = f"one of {', '.join(map(str, value))}"
        case "minimum":
            expected = f"at least {value}"
        case "maximum":
            expected = f"at most {value}"
        case "pattern":
            expected = f"text like {value}"
        case _:
            expected = f"{error.validator} {value}"
    return Problem(line_of(lines, key), key, expected, found)
