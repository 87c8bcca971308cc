"""The `bumpless` command: the one place where errors become exit codes.

It starts fast: `commands` and what they are made with are imported only when they are needed, and `artifact apply` in
its plain form, which runs on small machines and in scripts, needs none of it.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.errors import ReleaseError

FLAGS = frozenset({"--color", "--no-color", "--debug", "--no-debug"})


def hoisted(words: list[str]) -> list[str]:
    """`words` with the options of every command in front, where they are declared: people write them after it."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            return [*first, *rest, word, *left]
        if word in ("-o", "--output"):
            first += [word, *([value] if (value := next(left, None)) is not None else [])]
        elif word.startswith("--output=") or word in FLAGS:
            first.append(word)
        else:
            rest.append(word)
    return first + rest


def main() -> None:
    """Run a command. Exit codes: 0 ok, 1 error, 2 changes pending or rollout failed, 3 timed out, 4 waits for a
    person, 5 locked."""
    debug = "--debug" in sys.argv
    atexit.register(gc.freeze)  # what is left need not be walked through
    try:
        code = _run(hoisted(sys.argv[1:]))
        sys.stdout.flush()
        sys.exit(code)
    except (ReleaseError, ArtifactError) as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (OSError, ValueError) as error:
        if debug:
            raise
        print(f"error: {error}{'' if _is_told(error) else ' (--debug shows where)'}", file=sys.stderr)
        sys.exit(1)


def _run(words: list[str]) -> int:
    if words[:2] == ["artifact", "apply"]:
        from bumpless.cli import applying

        if (wanted := applying.parse_plain(words[2:])) is not None:
            print(applying.told(wanted, applying.apply(wanted)), end="")
            return 0
    from bumpless.cli.commands import run

    return run(words)


def _is_told(error: Exception) -> bool:
    """Whether the error was made for people, although it is of a general kind."""
    from bumpless.common.release_file import ReleaseInvalid  # models: only whoever fails waits for them

    return isinstance(error, ReleaseInvalid)


if __name__ == "__main__":
    main()
