"""What a release may set for the systemd unit of an instance: limits and sandbox, and nothing that runs anything.

An allow-list: a setting that is not here, such as ExecStartPre, Type or Restart, would change what the driver relies
on, or run a program that nobody verified.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

LONGEST = 4096
"""Characters of one value."""

_IDENTITY = "User Group SupplementaryGroups UMask"
_MEMORY = "MemoryMin MemoryLow MemoryHigh MemoryMax MemorySwapMax OOMPolicy OOMScoreAdjust"
_SHARES = """
    AllowedCPUs AllowedMemoryNodes CPUAffinity CPUQuota CPUQuotaPeriodSec CPUSchedulingPolicy
    CPUSchedulingPriority CPUWeight IODeviceWeight IOReadBandwidthMax IOReadIOPSMax IOSchedulingClass
    IOSchedulingPriority IOWeight IOWriteBandwidthMax IOWriteIOPSMax NUMAMask NUMAPolicy Nice Slice TasksMax
"""
_LIMITS = """
    LimitAS LimitCORE LimitCPU LimitDATA LimitFSIZE LimitLOCKS LimitMEMLOCK LimitMSGQUEUE LimitNICE LimitNOFILE
    LimitNPROC LimitRSS LimitRTPRIO LimitRTTIME LimitSIGPENDING LimitSTACK
"""
_FILES = """
    ExecPaths InaccessiblePaths NoExecPaths PrivateDevices PrivateTmp ProcSubset ProtectHome ProtectProc ProtectSystem
    ReadOnlyPaths ReadWritePaths
"""
_KERNEL = """
    AmbientCapabilities CapabilityBoundingSet DeviceAllow DevicePolicy KeyringMode LockPersonality
    MemoryDenyWriteExecute NoNewPrivileges PrivateIPC PrivateUsers ProtectClock ProtectControlGroups ProtectHostname
    ProtectKernelLogs ProtectKernelModules ProtectKernelTunables RemoveIPC RestrictNamespaces RestrictRealtime
    RestrictSUIDSGID SystemCallArchitectures SystemCallErrorNumber SystemCallFilter SystemCallLog
"""
_NETWORK = """
    IPAccounting IPAddressAllow IPAddressDeny PrivateNetwork RestrictAddressFamilies RestrictNetworkInterfaces
    SocketBindAllow SocketBindDeny
"""
_LOG = "LogLevelMax LogRateLimitBurst LogRateLimitIntervalSec SyslogIdentifier"

ALLOWED = frozenset(" ".join((_IDENTITY, _MEMORY, _SHARES, _LIMITS, _FILES, _KERNEL, _NETWORK, _LOG)).split())


def _checked(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"expected settings such as MemoryMax: 1G, found {value!r}")
    strange = sorted(str(name) for name in value if name not in ALLOWED)
    if strange:
        raise ValueError(
            f"expected only settings that a release may give, found {', '.join(strange)}; "
            f"allowed are {', '.join(sorted(ALLOWED))}"
        )
    return {name: _text(name, found) for name, found in value.items()}


def _text(name: str, value: Any) -> str:
    """One value as it stands in a unit file: true and false become yes and no, as a YAML file may say either."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str | int | float):
        raise ValueError(f"expected a text or a number for {name}, found {value!r}")
    text = str(value)
    if (
        not text
        or len(text) > LONGEST
        or not text.isprintable()
        or text != text.strip()
        or text.endswith("\\")
    ):
        raise ValueError(
            f"expected one line of 1 to {LONGEST} printable characters for {name}, not beginning or ending with a "
            f"space or ending with a backslash, found {text[:80]!r}"
        )
    return text


ServiceSettings = Annotated[dict[str, str], BeforeValidator(_checked)]
