"""Makes the keys of an installation in containers where there are none, and gives each part its own.

    setup [NODE...]

/keys      the volume with all of them: signing keys, identities, certificates. No other part has it.
/parts/X   the volume of part X, with what X needs and nothing else.

Run again it makes what is missing, and changes nothing else. Settings: BUMPLESS_NODES, nodes that have keys, and
BUMPLESS_BROKER_NAMES, the names and addresses by which the broker is called; another list gives it a new certificate.
"""

import os
import shutil
import sys
from pathlib import Path

from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.cli.identities import Identities
from bumpless.common.access.certificates import Authority, holds_for
from bumpless.common.errors import ReleaseError
from bumpless.common.shell import clock
from bumpless.dashboard.one_time import secret_at

KEYS, PARTS, HERE = Path("/keys"), Path("/parts"), Path(__file__).parent
VALID_DAYS = 3650
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
    ours = authority()
    certificate(ours, "broker", names)
    certificate(ours, "redis", ["redis", "localhost", "127.0.0.1"])
    certificate(ours, "dashboard", ["localhost", "127.0.0.1"])
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
    found["redis"] = {
        "redis.conf": HERE / "redis.conf",
        "redis.acl": identities.redis_users,
        "tls.pem": tls / "redis.pem",
        "tls.key": tls / "redis.key",
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


def authority() -> Authority:
    """Made where there is none."""
    file, key = KEYS / "tls" / "ca.pem", KEYS / "tls" / "ca.key"
    if file.exists():
        return Authority(file, key)
    return Authority.make(file, key, "Bumpless in containers", clock.now())


def certificate(by: Authority, part: str, names: list[str]) -> None:
    """For these names and addresses, unless there is one for just these."""
    file = KEYS / "tls" / f"{part}.pem"
    if not (file.exists() and holds_for(file, names)):
        by.certify(names, file.with_suffix(".key"), file, clock.now(), VALID_DAYS)


if __name__ == "__main__":
    try:
        main()
    except (ReleaseError, OSError) as error:
        sys.exit(f"setup: {error}")
