"""What can go wrong, in three kinds; only `shell.run` turns them into acknowledgements."""

from __future__ import annotations


class ReleaseError(Exception):
    """Base of the errors below."""


class Refused(ReleaseError):
    """The input is wrong and stays wrong: say what was expected and found, and do not try again."""

    def __init__(self, expected: str, found: str, hint: str = "") -> None:
        self.expected, self.found, self.hint = expected, found, hint
        super().__init__(f"expected {expected}, found {found}" + (f"; {hint}" if hint else ""))


class Retryable(ReleaseError):
    """Something that is away may come back: try again after `after_s` seconds."""

    def __init__(self, reason: str, after_s: float = 1.0) -> None:
        self.after_s = after_s
        super().__init__(reason)


class Broken(ReleaseError):
    """A fault of ours: an invariant does not hold."""
