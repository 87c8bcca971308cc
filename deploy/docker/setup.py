"""Makes the keys of an installation in containers where there are none, and gives each part its own.

    setup [NODE...]

/keys      the volume with all of them: signing keys, identities, certificates. No other part has it.
/parts/X   the volume of part X, with what X needs and nothing else.

Run again it makes what is missing, and changes nothing else. Settings: BUMPLESS_NODES, nodes that have keys, and
BUMPLESS_BROKER_NAMES, the names and addresses by which the broker is called; another list gives it a new certificate.
"""

import ipaddress
import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.cli.identities import Identities
from bumpless.common.errors import ReleaseError
from bumpless.common.shell import clock
from bumpless.dashboard.one_time import secret_at

KEYS, PARTS, HERE = Path("/keys"), Path("/parts"), Path(__file__).parent
VALID = timedelta(days=3650)
"""Of certificates. Whoever wants shorter ones brings an authority of their own, with something that renews them."""
DEPLOYING = ("planner", "rollback", "alerts")
TRUSTING = ("planner", "rollback")
SERVICES = ("planner", "rollback", "health-gate", "alerts", "events", "dashboard")


def main() -> None:
    os.umask(0o077)
    nodes = [*os.environ.get("BUMPLESS_NODES", "").split(), *sys.argv[1:]]
    names = os.environ.get("BUMPLESS_BROKER_NAMES", "nats localhost 127.0.0.1").split()
    home = Home(KEYS)
    if not home.trust.exists():
        generate_keys(home)
        print(f"made signing keys in {home.keys}")
    identities = Identities(home.access)
    identities.ensure(nodes)
    secret_at(home.dashboard_secret, make=True)
    authority()
    certificate("broker", names)
    certificate("dashboard", ["localhost", "127.0.0.1"])
    for part, files in parts(home, identities, nodes).items():
        changed = [name for name, source in files.items() if give(source, PARTS / part / name)]
        if changed:
            print(f"{part}: new {', '.join(changed)}")


def parts(home: Home, identities: Identities, nodes: list[str]) -> dict[str, dict[str, Path]]:
    """By part, the files of its volume and where each comes from."""
    ca, tls = KEYS / "tls" / "ca.pem", KEYS / "tls"
    found: dict[str, dict[str, Path]] = {
        name: {"nats.seed": identities.seed(name), "ca.pem": ca} for name in SERVICES
    }
    for name in DEPLOYING:
        found[name]["deploy.key"] = home.deploy_key
    for name in TRUSTING:
        found[name]["trusted.json"] = home.trust
    found["dashboard"] |= {
        "dashboard.secret": home.dashboard_secret,
        "tls.pem": tls / "dashboard.pem",
        "tls.key": tls / "dashboard.key",
    }
    found["broker"] = {
        "nats.conf": HERE / "nats.conf",
        "accounts.conf": identities.accounts,
        "tls.pem": tls / "broker.pem",
        "tls.key": tls / "broker.key",
    }
    # Homes of the command line: people look and give orders, CI releases.
    for name in ("operator", "ci"):
        found[name] = {"keys/trusted.json": home.trust, "nats.seed": identities.seed(name), "ca.pem": ca}
    found["ci"]["keys/release.key"] = home.release_key
    for name in nodes:
        if (PARTS / name).is_dir():
            seed = identities.seed(name, "nodes")
            found[name] = {"nats.seed": seed, "ca.pem": ca, "trusted.json": home.trust}
    return found


def give(source: Path, to: Path) -> bool:
    """Copy a file that is not there, or is another; whether it was."""
    if to.exists() and to.read_bytes() == source.read_bytes():
        return False
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(to.name + ".part")
    shutil.copyfile(source, part)
    part.replace(to)
    return True


def authority() -> None:
    file = KEYS / "tls" / "ca.pem"
    if file.exists():
        return
    file.parent.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bumpless in containers")])
    built = (
        _begun(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    _save_key(key, file.with_suffix(".key"))
    _save(built.sign(key, hashes.SHA256()), file)


def certificate(part: str, names: list[str]) -> None:
    """A certificate for these names and addresses, unless there is one for the same."""
    file, ca = KEYS / "tls" / f"{part}.pem", KEYS / "tls" / "ca.pem"
    wanted = x509.SubjectAlternativeName([_general(name) for name in names])
    if file.exists():
        known = x509.load_pem_x509_certificate(file.read_bytes())
        if known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == wanted:
            return
    issuer = x509.load_pem_x509_certificate(ca.read_bytes())
    signer = serialization.load_pem_private_key(ca.with_suffix(".key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, part)])
    built = (
        _begun(subject, issuer.subject, key)
        .add_extension(wanted, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    _save_key(key, file.with_suffix(".key"))
    _save(built.sign(signer, hashes.SHA256()), file)


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = clock.now()
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
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


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _save_key(key: ec.EllipticCurvePrivateKey, file: Path) -> None:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(*form))


def _save(made: x509.Certificate, file: Path) -> None:
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))


if __name__ == "__main__":
    try:
        main()
    except (ReleaseError, OSError) as error:
        sys.exit(f"setup: {error}")
