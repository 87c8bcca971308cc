"""Why the certificate that a server showed was not taken, in words for people."""

from __future__ import annotations

import ssl

NOT_YET_GOOD, EXPIRED = 9, 10
OTHER_NAMES = (62, 64)
"""What OpenSSL calls these (X509_V_ERR_…): of a host name, of an address."""


def untrusted(error: BaseException | None) -> tuple[str, str] | None:
    """What was found instead of a server that we can trust, and what to do; None: this is another error.

    What `error` was raised for, or while it was handled, is looked through too.
    """
    while error is not None:
        # Clients have errors of theirs of the same kind, without the code.
        if isinstance(error, ssl.SSLCertVerificationError) and hasattr(error, "verify_code"):
            found, hint = _told(error.verify_code)
            return f"{found} ({error.verify_message})", hint
        error = error.__cause__ or error.__context__
    return None


def _told(code: int) -> tuple[str, str]:
    if code == EXPIRED:
        return (
            "a certificate that has expired, or whose authority has",
            "renew it, or put the clock of this machine right; `bumpless doctor` tells when each of them ends",
        )
    if code == NOT_YET_GOOD:
        return "a certificate that is not good yet", "put the clock of this machine right"
    if code in OTHER_NAMES:
        return "a certificate for other names", "connect by a name that it is for, or renew it for this one"
    return (
        "a certificate that no authority we trust vouches for",
        "name its authority, see docs/identities.md",
    )
