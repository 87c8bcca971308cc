"""How a process gets to the broker: address, key, and whom it trusts to be the broker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bumpless.common.access.nkey import public_key
from bumpless.common.errors import Refused

if TYPE_CHECKING:
    import ssl

OPEN_INBOX = "_INBOX"


@dataclass(frozen=True)
class Entry:
    """`url` is one server, or those of a cluster with commas between. `seed` is the file with our key, `ca` one with the
    authorities (PEM) that may vouch for the broker.

    Without a seed the broker must be one without accounts. With `ca` the connection is encrypted or there is none.
    """

    url: str
    seed: Path | None = None
    ca: Path | None = None

    @classmethod
    def of(cls, given: str | Entry) -> Entry:
        return given if isinstance(given, Entry) else cls(given)

    @property
    def servers(self) -> list[str]:
        """The URL of each server. Raises: Refused."""
        found = [each.strip() for each in self.url.split(",")]
        wrong = [each for each in found if not each or " " in each]
        if wrong or len(set(found)) < len(found):
            raise Refused(
                "the URL of a NATS server, or several with commas between: nats://a:4222,nats://b:4222",
                self.url or "nothing",
                "name each server once",
            )
        return found

    @property
    def inbox(self) -> str:
        """Under which we are answered. With a key it is ours alone. Raises: Refused."""
        return OPEN_INBOX if self.seed is None else f"{OPEN_INBOX}_{public_key(self.seed)}"

    def tls(self) -> ssl.SSLContext | None:
        """Raises: Refused: the authorities cannot be read."""
        if self.ca is None:
            return None
        import ssl

        try:
            return ssl.create_default_context(cafile=str(self.ca))
        except OSError as error:
            raise Refused(f"certificate authorities (PEM) in {self.ca}", str(error)) from error

    def options(self) -> dict[str, Any]:
        """For `nats.connect`. Raises: Refused."""
        found: dict[str, Any] = {"inbox_prefix": self.inbox}
        if self.seed is not None:
            found["nkeys_seed"] = str(self.seed)
        if self.ca is not None:
            found["tls"] = self.tls()
        return found
