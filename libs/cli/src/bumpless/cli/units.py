"""The systemd units of Bumpless, as text: one table, of which deploy/systemd is made.

Each unit has what its program needs and no more. What is left out of the sandbox of one is left out for a reason that
stands beside it in the unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = Path("/opt/bumpless")
"""A virtual environment with Bumpless in it."""
SETTINGS = "/etc/bumpless"
REDIS_SOCKET = "/run/bumpless-redis/redis.sock"
GROUP = "bumpless"
"""Who may open the socket of the state store."""
EXPOSURE_MOST = 3.0
"""Of every unit, as `systemd-analyze security` counts."""

_CONFINED = """\
DynamicUser=yes
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""

_RESTART = """\
Restart=always
RestartSec=1s
"""


_GIVES_WAY = """\
# It gives way to the others. systemd before 252 takes the first and passes over the second.
CPUWeight=2
CPUWeight=idle
"""


@dataclass(frozen=True)
class Service:
    """`module` has the program. `settings`: names without the prefix to values. `credentials`: setting to a file below
    `SETTINGS`, which the service sees as a copy of its own."""

    name: str
    does: str
    module: str
    settings: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)
    state: bool = True
    """Whether it uses the state store."""
    gives_way: bool = False
    """Whether it gets the processor only while no other unit wants it. It may then be late to say that it lives."""

    @property
    def unit(self) -> str:
        return f"bumpless-{self.name}.service"


_KEYS = {"DEPLOY_KEY": "keys/deploy.key", "TRUST": "keys/trusted.json"}
SERVICES = (
    Service("planner", "plans and forward rollouts", "bumpless.planner.app", credentials=_KEYS),
    Service("health-gate", "gates and their verdicts", "bumpless.health_gate.app"),
    Service("rollback", "reverts", "bumpless.rollback.app", credentials=_KEYS),
    Service(
        "alerts",
        "alerts, and who is told",
        "bumpless.alerts.app",
        settings={"CONFIG": f"{SETTINGS}/alerts.yaml"},
        credentials={"DEPLOY_KEY": "keys/deploy.key"},
    ),
    Service(
        "events",
        "what other tools are told, and what they ask for",
        "bumpless.events.app",
        settings={"CONFIG": f"{SETTINGS}/events.yaml"},
        state=False,
    ),
    Service(
        "dashboard",
        "rollouts in a browser",
        "bumpless.dashboard.app",
        credentials={"USERS": "keys/dashboard-users.json", "LOGIN_SECRET": "keys/dashboard.secret"},
        state=False,
        gives_way=True,
    ),
)


def units(prefix: Path = PREFIX) -> dict[str, str]:
    """Every unit by its file name, for Bumpless in `prefix`."""
    return {
        **{service.unit: _service(service, prefix) for service in SERVICES},
        "bumpless-nats.service": _nats(prefix),
        "bumpless-redis.service": _REDIS,
        "bumpless-executor.service": _executor(prefix),
    }


def _service(service: Service, prefix: Path) -> str:
    variable = f"BUMPLESS_{service.name.upper().replace('-', '_')}_"
    given = dict(service.settings)
    if service.state:
        given["REDIS_URL"] = f"unix://{REDIS_SOCKET}"
    loaded = []
    for setting, file in service.credentials.items():
        name = file.rsplit("/", 1)[-1]
        loaded.append(f"LoadCredential={name}:{SETTINGS}/{file}\n")
        given[setting] = f"%d/{name}"
    after = "bumpless-nats.service" + (" bumpless-redis.service" if service.state else "")
    return (
        f"# {service.does[0].upper()}{service.does[1:]}. Explained in docs/operations.md.\n"
        f"[Unit]\nDescription=Bumpless: {service.does}\n"
        f"Wants=network-online.target\nAfter=network-online.target {after}\n"
        "# It waits for its servers as long as it takes.\nStartLimitIntervalSec=0\n\n"
        "[Service]\nType=notify\nNotifyAccess=main\n"
        "# Ready is who holds the lease, or stands by for it.\nTimeoutStartSec=300\n"
        f"WatchdogSec={600 if service.gives_way else 60}\n"
        f"{_RESTART}"
        f"ExecStart={prefix}/bin/python -m {service.module}\n"
        + "".join(f"Environment={variable}{name}={value}\n" for name, value in given.items())
        + "# More settings, and others than the above; written by whoever runs it.\n"
        f"EnvironmentFile=-{SETTINGS}/{service.name}.env\n"
        + "".join(loaded)
        + f"StateDirectory=bumpless-{service.name}\nStateDirectoryMode=0700\n"
        + (f"SupplementaryGroups={GROUP}\n" if service.state else "")
        + (_GIVES_WAY if service.gives_way else "")
        + f"{_CONFINED}\n[Install]\nWantedBy=multi-user.target\n"
    )


def _nats(prefix: Path) -> str:
    return (
        "# The broker. Explained in docs/operations.md.\n"
        "[Unit]\nDescription=Bumpless: broker\nWants=network-online.target\nAfter=network-online.target\n"
        "StartLimitIntervalSec=0\n\n"
        "[Service]\n"
        "# It does not speak sd_notify, so there is no watchdog either; who needs it waits for it.\n"
        f"Type=exec\n{_RESTART}"
        f"ExecStart={prefix}/bin/nats-server -c {SETTINGS}/nats.conf\n"
        "# SIGUSR2 is its lame duck: clients are told to go elsewhere first.\n"
        "ExecReload=kill -HUP $MAINPID\nKillSignal=SIGUSR2\nTimeoutStopSec=150\n"
        "StateDirectory=bumpless-nats\nStateDirectoryMode=0700\n"
        "# A descriptor for every node, and files of its streams.\nLimitNOFILE=131072\n"
        f"{_CONFINED}\n[Install]\nWantedBy=multi-user.target\n"
    )


def redis_start(more: str = "") -> str:
    """How the state store is started, with `more` options."""
    return (
        f"ExecStart=/usr/bin/redis-server {SETTINGS}/redis.conf --supervised systemd --daemonize no{more}\n"
    )


_REDIS = (
    "# The state store. Explained in docs/operations.md.\n"
    "[Unit]\nDescription=Bumpless: state store\nStartLimitIntervalSec=0\n\n"
    "[Service]\n"
    "# Debian's redis-server says when it is ready; it has no watchdog.\n"
    f"Type=notify\nNotifyAccess=main\nTimeoutStartSec=300\n{_RESTART}"
    f"{redis_start()}"
    "# Who writes out its log must not be cut off.\nTimeoutStopSec=150\n"
    "StateDirectory=bumpless-redis\nStateDirectoryMode=0700\nRuntimeDirectory=bumpless-redis\nRuntimeDirectoryMode=0750\n"
    f"LimitNOFILE=65536\nGroup={GROUP}\n"
    "# Clients come through a socket file.\nPrivateNetwork=yes\n"
    f"{_CONFINED}\n[Install]\nWantedBy=multi-user.target\n"
)


def _executor(prefix: Path) -> str:
    return f"""\
# The executor of one node. Settings: {SETTINGS}/executor.env, lines of BUMPLESS_EXECUTOR_NAME=value.
# Explained in docs/self-upgrade.md and docs/operations.md.
[Unit]
Description=Bumpless executor
Wants=network-online.target
After=network-online.target
# A limit on starts would also throw the stored sockets away.
StartLimitIntervalSec=0

[Service]
Type=notify
EnvironmentFile={SETTINGS}/executor.env
ExecStart={prefix}/bin/python -m bumpless.executor.launcher
# The process that says READY is the one that systemd started: versions take each other's place by exec.
NotifyAccess=main
# Its loop must turn; the next one takes over what runs.
WatchdogSec=60
Restart=always
RestartSec=200ms
# The broker may be away for long, and services have to be taken over meanwhile.
TimeoutStartSec=infinity
# Services outlive their executor, and one that runs out of memory does not end it.
KillMode=process
OOMPolicy=continue
# Listening sockets outlive executor and services, with the connections that wait in them.
FileDescriptorStoreMax=1024
LimitNOFILE=65536
StateDirectory=bumpless
StateDirectoryMode=0711
RuntimeDirectory=bumpless
RuntimeDirectoryPreserve=yes

# The sandbox holds for the services of the native and the hooks driver too, which are its children; those of the
# systemd driver have units of their own. A node whose services need more gets a drop-in.
UMask=0022
NoNewPrivileges=yes
ProtectSystem=strict
# Where the systemd driver writes units.
ReadWritePaths=/run/systemd/system
ProtectHome=yes
# Not PrivateTmp: systemd removes it when the executor ends, and its services go on.
PrivateDevices=yes
PrivateMounts=yes
# Not ProtectProc: it watches processes of services that have another user.
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
# Not MemoryDenyWriteExecute: services may compile at run time, as Node.js does.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictRealtime=yes
RestrictSUIDSGID=yes
# What decodes packages locks itself in: another user, limits, Landlock and a filter of system calls. Its namespaces are
# refused here, with the right to mount: for a process that may open no file and no socket they would be a second lock.
RestrictNamespaces=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
# pidfd_getfd takes sockets out of living services.
SystemCallFilter=pidfd_getfd seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallFilter=~@resources
SystemCallErrorNumber=EPERM
# Files and users of services, their ports and signals; and the other user of that lock.
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_SETGID CAP_SETPCAP CAP_SETUID

[Install]
WantedBy=multi-user.target
"""
