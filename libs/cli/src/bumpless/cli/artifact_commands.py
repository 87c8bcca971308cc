"""`artifact`: the group. Each command is in a module of its own, because `apply` starts fast and small."""

from __future__ import annotations

from typer.core import TyperGroup

from bumpless.cli.lazy import MARKUP, LazyCommand

NAME = "artifact"


def group() -> TyperGroup:
    commands = [
        LazyCommand("build", "artifact_build", "Pack a tree into a signed artifact, with deltas from earlier versions."),
        LazyCommand("diff", "artifact_diff", "Show what differs between two trees, and how large a delta between them is."),
        LazyCommand("apply", "artifact_apply", "Make a tree from a package by hand: from a delta and the old tree, or from a full package."),
        LazyCommand("verify", "artifact_verify", "Check artifacts with their packages, or a folder against the tree it should hold."),
        LazyCommand("inspect", "artifact_inspect", "Show what is in an artifact, after checking its signature, or in a package."),
        LazyCommand("gc", "store_commands", "Remove packages from the store that no kept release, no rollout and no node names."),
    ]  # fmt: skip
    return TyperGroup(
        name=NAME,
        commands=commands,
        no_args_is_help=True,
        help="Signed, content-addressed artifacts.",
        rich_markup_mode=MARKUP,
    )
