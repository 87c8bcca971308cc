"""Streams, consumers and buckets: the only place that declares them, re-asserted at every start.

Sizes and ages are in ARCHITECTURE.md. What was read back from the server is checked, because an old server
drops settings it does not know without a word, and because people change streams by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nats.js.errors
from nats.js import JetStreamContext, api

from bumpless.common.contract import alerts as a
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import STREAM_SUBJECTS, Stream
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.plan import Direction
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.stream_settings import Differs, differences, in_words

log = get_logger(__name__)

DAY_S = 86_400.0
OLDEST_SERVER = (2, 12)
SHOWN_S = 7 * DAY_S
"""How long after a dry run its plan can be compared with another."""
ALERT_HISTORY = 200
"""Changes of one alert that are kept."""
ALREADY_OTHERWISE = 10058
"""There is a stream of that name with other settings."""
NOT_CHANGEABLE = 10052
"""The server cannot change a stream that is there to have these settings."""
NO_CLUSTER = 10074
"""Replicas were asked of a server that is alone."""
TOO_FEW = (10005, 10023)
"""The cluster has fewer servers with JetStream than replicas, so far, or no room on them."""
MAX_DELIVER = -1
"""`consume.py` decides when to park; what waits for a store or a broker to come back waits as long as it takes."""


@dataclass(frozen=True)
class Durable:
    """A durable consumer: name, stream, subjects.

    `ack_wait_s` is how long a message waits that a killed process held; a handler that takes longer says so meanwhile.
    """

    name: str
    stream: Stream
    filters: tuple[str, ...]
    ack_wait_s: float = 5.0
    deliver: api.DeliverPolicy = api.DeliverPolicy.ALL


PLANNER_RELEASES = Durable("planner", Stream.REL, (subjects.subject_for(e.ReleaseAnnounced),))
PLANNER_OPERATORS = Durable("planner", Stream.OPS, (subjects.operator_subjects("planner"),))
PLANNER_RESULTS = Durable(
    "planner",
    Stream.EVT,
    (
        subjects.subject_for(e.StepStaged),
        subjects.subject_for(e.StepFinished, direction=Direction.FORWARD),
        subjects.subject_for(e.ComponentCrashLooping),
    ),
)
PLANNER_EVENTS = Durable(
    "planner",
    Stream.RO,
    tuple(
        subjects.subject_for(kind)
        for kind in (e.VerdictReached, e.RevertStarted, e.RolloutReverted, e.RolloutHalted)
    ),
)
GATE_COMMANDS = Durable(
    "health-gate", Stream.RO, (subjects.subject_for(c.OpenGate), subjects.subject_for(c.CloseGate))
)
ROLLBACK_EVENTS = Durable("rollback", Stream.RO, (subjects.subject_for(e.RolloutFailed),))
ROLLBACK_OPERATORS = Durable("rollback", Stream.OPS, (subjects.operator_subjects("rollback"),))
ALERTS_OPERATORS = Durable("alerts", Stream.OPS, (subjects.operator_subjects("alerts"),))
ALERTS_OUTCOMES = Durable(
    "alerts",
    Stream.RO,
    tuple(
        subjects.subject_for(kind)
        for kind in (e.CommandAnswered, e.RolloutFailed, e.RolloutReverted, e.RolloutHalted)
    ),
)
ROLLBACK_RESULTS = Durable(
    "rollback", Stream.EVT, (subjects.subject_for(e.StepFinished, direction=Direction.REVERT),)
)
EVENTS_TRIGGERS = Durable("events", Stream.REL, (subjects.release_published(),))
EVENTS_ROLLOUTS = Durable(
    "events",
    Stream.RO,
    tuple(
        subjects.subject_for(kind)
        for kind in (
            e.ReleaseRefused,
            e.RolloutPlanned,
            e.RolloutSucceeded,
            e.RolloutFailed,
            e.RolloutCancelled,
            e.RolloutHalted,
            e.RevertStarted,
            e.RolloutReverted,
        )
    ),
    deliver=api.DeliverPolicy.NEW,
)
EVENTS_ALERTS = Durable(
    "events", Stream.ALR, (subjects.subject_for(a.AlertChanged),), deliver=api.DeliverPolicy.NEW
)

DURABLES = (
    PLANNER_RELEASES,
    PLANNER_OPERATORS,
    PLANNER_RESULTS,
    PLANNER_EVENTS,
    GATE_COMMANDS,
    ROLLBACK_EVENTS,
    ROLLBACK_OPERATORS,
    ROLLBACK_RESULTS,
    ALERTS_OPERATORS,
    ALERTS_OUTCOMES,
    EVENTS_TRIGGERS,
    EVENTS_ROLLOUTS,
    EVENTS_ALERTS,
)


def streams(replicas: int) -> tuple[api.StreamConfig, ...]:
    """Every stream, as it ought to be. With replicas all have them, those in memory too: a stream that lay on one
    server would be away with that server, and readers of progress with it.
    """
    # The server has this only where there is one copy. With three, two of them hold what is acknowledged.
    relaxed = {"persist_mode": api.PersistMode.ASYNC} if replicas == 1 else {}

    def stream(name: Stream, **settings: object) -> api.StreamConfig:
        known: dict[str, object] = {
            "name": name.value,
            "subjects": list(STREAM_SUBJECTS[name]),
            "storage": api.StorageType.FILE,
            "retention": api.RetentionPolicy.LIMITS,
            "num_replicas": replicas,
            "allow_direct": True,
            "max_consumers": -1,
        }
        return api.StreamConfig(**{**known, **settings})  # type: ignore[arg-type]

    return (
        stream(Stream.REL, max_age=90 * DAY_S, duplicate_window=DAY_S),
        stream(
            Stream.CMD,
            max_msgs_per_subject=1,
            allow_atomic=True,
            republish=api.RePublish(src=subjects.COMMANDS_LIVE_SOURCE, dest=subjects.COMMANDS_LIVE_TARGET),
        ),
        stream(Stream.RO, max_age=90 * DAY_S, duplicate_window=DAY_S),
        stream(Stream.OPS, max_age=90 * DAY_S, duplicate_window=DAY_S),
        stream(Stream.ALR, max_msgs_per_subject=ALERT_HISTORY, max_age=90 * DAY_S, duplicate_window=DAY_S),
        stream(Stream.EVT, max_age=7 * DAY_S, max_bytes=4 << 30, duplicate_window=600.0, **relaxed),
        stream(Stream.INV, max_msgs_per_subject=1, **relaxed),
        stream(Stream.PROG, max_msgs_per_subject=1, storage=api.StorageType.MEMORY, max_age=7 * DAY_S),
        stream(Stream.DLQ, max_age=30 * DAY_S, max_bytes=1 << 30, duplicate_window=DAY_S),
        stream(Stream.ADV, max_age=30 * DAY_S, max_bytes=1 << 28),
        stream(Stream.CDE, max_age=90 * DAY_S, max_bytes=1 << 30, duplicate_window=DAY_S),
    )


KEEPER = "planner"
"""May change streams, and makes the consumers of all services. How many replicas there are is what it is told."""
KEEPERS_OWN = ("num_replicas", "persist_mode")
"""What other owners take as they find it."""


async def ensure_topology(connection: Connection, owner: str = KEEPER, replicas: int = 1) -> None:
    """Create what is missing, bring the rest to what is written here, and read it back.

    Other owners than the keeper make their own consumers, and what a broker that was started again no longer has in
    memory; for all else they wait for the keeper.

    Raises:
        Refused: the server is too old, is alone where replicas are wanted, or did not take a setting.
        Retryable: the keeper is waited for, or servers of the cluster are.
        one of Away: the broker, or who decides in its cluster, does not answer.
    """
    found = connection.nc.connected_server_version
    version = f"{found.major}.{found.minor}.{found.patch}"
    if (found.major, found.minor) < OLDEST_SERVER:
        raise Refused(
            "nats-server 2.12 or newer",
            version,
            "Debian's package is older; use the one `bumpless up` starts",
        )
    js = connection.js
    for config in streams(replicas):
        await (_stream(js, config) if owner == KEEPER else _made_by_keeper(js, config))
    for durable in DURABLES:
        if owner not in (KEEPER, durable.name):
            continue
        await js.add_consumer(
            durable.stream.value,
            api.ConsumerConfig(
                name=durable.name,
                durable_name=durable.name,
                filter_subjects=list(durable.filters),
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=durable.ack_wait_s,
                max_deliver=MAX_DELIVER,
                max_ack_pending=1000,
                deliver_policy=durable.deliver,
            ),
        )
    for bucket, ttl_s in (
        (subjects.ARTIFACT_BUCKET, None),
        (subjects.PLAN_BUCKET, None),
        (subjects.SHOWN_BUCKET, SHOWN_S),
    ):
        await _bucket(js, bucket, ttl_s, owner, replicas)


async def _stream(js: JetStreamContext, config: api.StreamConfig) -> None:
    """Have one stream as declared. Raises: as `ensure_topology`."""
    try:
        info = await js.add_stream(config)
    except nats.js.errors.APIError as error:
        if error.err_code != ALREADY_OTHERWISE:
            raise _not_made(config, error) from error
        found = (await js.stream_info(str(config.name))).config
        info = await _changed(js, config, differences(config, found))
    left = differences(config, info.config)
    if left:
        raise Refused(
            f"stream {config.name} as declared",
            in_words(left),
            f"nats-server {OLDEST_SERVER[0]}.{OLDEST_SERVER[1]} or newer takes all of it",
        )


async def _made_by_keeper(js: JetStreamContext, config: api.StreamConfig) -> None:
    """Raises: Retryable: the keeper has not made it, or not changed it back, yet."""
    try:
        found = (await js.stream_info(str(config.name))).config
    except nats.js.errors.NotFoundError as error:
        if config.storage is api.StorageType.MEMORY:  # gone when the broker was started again
            await _stream(js, config)
            return
        raise Retryable(f"stream {config.name} is not there; waiting for {KEEPER} to make it") from error
    left = differences(config, found, besides=KEEPERS_OWN)
    if left:
        raise Retryable(f"stream {config.name} has {in_words(left)}; waiting for {KEEPER} to change it")


async def _changed(
    js: JetStreamContext, config: api.StreamConfig, before: tuple[Differs, ...]
) -> api.StreamInfo:
    log.warning("a stream is not as declared; it is changed back", stream=config.name, found=in_words(before))
    try:
        return await js.update_stream(config)
    except nats.js.errors.APIError as error:
        raise _not_made(config, error, before) from error


def _not_made(
    config: api.StreamConfig, error: nats.js.errors.APIError, found: tuple[Differs, ...] = ()
) -> Exception:
    """What it means that the server did not make a stream, or did not change one that has `found`."""
    if error.err_code == NO_CLUSTER:
        return Refused(
            f"a cluster of nats-servers for {config.num_replicas} replicas",
            "a nats-server that is in none",
            "see docs/cluster.md, or have REPLICAS=1",
        )
    if error.err_code in TOO_FEW:
        return Retryable(
            f"expected {config.num_replicas} nats-servers with room for stream {config.name}, found fewer: "
            f"{error.description}"
        )
    if found and error.err_code == NOT_CHANGEABLE:
        return Refused(
            f"stream {config.name} to take the settings it is declared with",
            f"{in_words(found)}, and a server that says: {error.description}",
            "see docs/cluster.md#from-one-to-three",
        )
    return error


WEBHOOK_PREFIX = "webhook-"
"""Begins the name of the consumer of a webhook."""
FORGOTTEN_S = 30 * DAY_S
"""How long what waits for a webhook is kept that nobody serves: as long as the longest deadline."""


async def ensure_webhook(
    connection: Connection, name: str, words: Sequence[str], *, ack_wait_s: float
) -> str:
    """The consumer by which the webhook `name` is told of `words`, from when it is first asked for; returns its name."""
    config = api.ConsumerConfig(
        name=WEBHOOK_PREFIX + name,
        durable_name=WEBHOOK_PREFIX + name,
        filter_subjects=[subjects.delivery_event(word) for word in words],
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ack_wait_s,
        max_deliver=MAX_DELIVER,
        max_ack_pending=1000,
        deliver_policy=api.DeliverPolicy.NEW,
        inactive_threshold=FORGOTTEN_S,
    )
    await connection.js.add_consumer(Stream.CDE.value, config)
    return WEBHOOK_PREFIX + name


@dataclass(frozen=True)
class Backlog:
    """How many events a webhook has not been given yet, and how many it has not taken yet."""

    waiting: int
    being_tried: int


async def webhook_backlogs(connection: Connection) -> dict[str, Backlog]:
    """By the names of the webhooks that have a consumer. Raises: Retryable: the broker is away."""
    try:
        found = await connection.js.consumers_info(Stream.CDE.value)
    except Away as error:
        raise Retryable(f"broker is away: reading consumers: {error!r}") from error
    return {
        info.name.removeprefix(WEBHOOK_PREFIX): Backlog(info.num_pending or 0, info.num_ack_pending or 0)
        for info in found
        if info.name.startswith(WEBHOOK_PREFIX)
    }


async def _bucket(js: JetStreamContext, bucket: str, ttl_s: float | None, owner: str, replicas: int) -> None:
    """Have an object store. How many replicas it has is changed; the rest is the client's."""
    try:
        config = (await js.stream_info(subjects.bucket_stream(bucket))).config
    except nats.js.errors.NotFoundError as missing:
        if owner != KEEPER:
            raise Retryable(f"bucket {bucket} is not there; waiting for {KEEPER} to make it") from missing
        wanted = api.ObjectStoreConfig(
            bucket=bucket, storage=api.StorageType.FILE, ttl=ttl_s, replicas=replicas
        )
        try:
            await js.create_object_store(bucket, config=wanted)
        except nats.js.errors.APIError as error:
            raise _not_made(api.StreamConfig(name=bucket, num_replicas=replicas), error) from error
        return
    if owner == KEEPER and config.num_replicas != replicas:
        declared = config.evolve(num_replicas=replicas)
        await _changed(js, declared, differences(declared, config))
