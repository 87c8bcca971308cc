"""What can be wrong with an artifact. Every message says what was expected, what was found and what to do.

Faults of the machine (disk full, permission denied) stay `OSError`.
"""

from __future__ import annotations


class ArtifactError(Exception):
    """Base of the errors below."""


class WrongBase(ArtifactError):
    """The delta was made against another tree than the one on this node."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"expected the base tree {expected}, found {found}; use the full package, or a delta from what is there"
        )


class Corrupt(ArtifactError):
    """Bytes are not those that were promised."""

    def __init__(self, expected: str, found: str, where: str) -> None:
        self.expected, self.found, self.where = expected, found, where
        super().__init__(f"{where}: expected {expected}, found {found}; discard it and fetch it again")


class UnsupportedFormat(ArtifactError):
    """The package is written in a later format than this reader knows."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"expected a package of {expected}, found {found}; upgrade this node's executor, or build for it"
        )


class TooLarge(ArtifactError):
    """A declared or real size exceeds what this reader accepts."""

    def __init__(self, limit: int, found: int, where: str) -> None:
        self.limit, self.found, self.where = limit, found, where
        super().__init__(
            f"{where}: expected at most {limit}, found {found}; raise the limit if that is intended"
        )


class UnsafePath(ArtifactError):
    """A path, link or file type that may not stand in a tree."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path!r}: {reason}; remove it from the tree or change it")


class Untrusted(ArtifactError):
    """A signature that this trust store does not accept."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"expected {expected}, found {found}; sign with a trusted key or add the key to the trust store"
        )


class BlobMissing(ArtifactError):
    """The store has no such blob."""

    def __init__(self, digest: str, store: str) -> None:
        self.digest, self.store = digest, store
        super().__init__(f"expected blob {digest} in {store}, found nothing; publish the release again")


class StoreUnavailable(ArtifactError):
    """The store did not answer; the same request may succeed later."""

    def __init__(self, store: str, cause: str) -> None:
        self.store, self.cause = store, cause
        super().__init__(f"expected an answer of {store}, found {cause}; try again when the store is back")
