"""An authority of an installation's own: its key, and a key and a certificate for each of its servers.

Keys are on curve P-256, in files of mode 0600, and never overwritten. A certificate holds for both ends of a connection:
servers of a cluster prove themselves to clients and to each other.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bumpless.common.errors import Refused

AUTHORITY_DAYS = 3650
BACKDATED = timedelta(hours=1)
"""For hosts whose clocks are behind."""


class Authority:
    """`certificate` and `key` are its files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises: Refused: they cannot be read, or do not belong together."""
        self.file = certificate
        try:
            self._certificate = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise Refused(f"the certificate of an authority in {certificate}", str(error)) from error
        self._key = _key_in(key)
        if self._certificate.public_key() != self._key.public_key():
            raise Refused(
                f"the key of {certificate}", f"another one, in {key}", "restore both from one backup"
            )

    @classmethod
    def make(cls, certificate: Path, key: Path, name: str, now: datetime) -> Authority:
        """A new one. Raises: Refused: there is a key already."""
        made = _new_key(key)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = (
            _for(subject, subject, made, now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(made, hashes.SHA256())
        )
        _write(certificate, _pem(built))
        return cls(certificate, key)

    def certify(
        self, names: Sequence[str], key: Path, certificate: Path, now: datetime, days: int
    ) -> datetime:
        """A certificate for hosts of these names and addresses with the key in `key`, which is made where there is none;
        returns when it expires.
        """
        own = _key_in(key) if key.exists() else _new_key(key)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        built = (
            _for(subject, self._certificate.subject, own, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(both, critical=False)
            .add_extension(x509.SubjectAlternativeName(list(map(_named, names))), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        _write(certificate, _pem(built))
        return expires(certificate)


def expires(certificate: Path) -> datetime:
    """When a certificate ends. Raises: Refused: there is none in the file."""
    return _read(certificate).not_valid_after_utc


def holds_for(certificate: Path, names: Sequence[str]) -> bool:
    """Whether it is one for these names and addresses, and no others. Raises: Refused: there is none in the file."""
    found = _read(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found) == set(map(_named, names))


def _read(certificate: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise Refused(f"a certificate (PEM) in {certificate}", str(error)) from error


def _for(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _new_key(file: Path) -> ec.EllipticCurvePrivateKey:
    made = ec.generate_private_key(ec.SECP256R1())
    data = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused("no key yet", str(file), "keep it, or move it away first") from error
    with open(descriptor, "wb") as opened:
        opened.write(data)
    return made


def _key_in(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        found = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"a key (PEM) in {file}", str(error), "restore it from a backup") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise Refused(f"a key on an elliptic curve in {file}", type(found).__name__)
    return found


def _write(file: Path, data: bytes) -> None:
    """In one step: a server may read it at any time."""
    part = file.with_name(file.name + ".part")
    part.write_bytes(data)
    part.chmod(0o644)
    part.replace(file)
