"""What the document says in sentences: how to join, how messages are wrapped, how signatures are made."""

from __future__ import annotations

from bumpless.common.contract import subjects
from bumpless.common.contract.envelope import RELEASE_TYPE
from bumpless.common.contract.subjects import Stream

OVERVIEW = f"""\
Bumpless upgrades a running product on many nodes. This is everything it says and hears on NATS.

**Operations.** Bumpless is the application that this document describes: what it *sends* you can subscribe to, what it
*receives* you can publish, if the broker's permissions let you.

**Coming in.** The broker knows its clients by nkeys; the seeds are in the installation's `access/services`. With `reader` you
may subscribe and consume, with `ci` also publish `rel.<product>.published`. `reader` may have its answers on
plain `_INBOX.>`; `ci` has inboxes of its own, below `_INBOX_<public key>`. Give a consumer a name when you make it, and
pull from it: requests to make one without a name are refused.

**Streams.** Channels with `x-jetstream` are kept in that JetStream stream. Publish to them as to any subject; with a
`Nats-Msg-Id` header the broker drops copies. To read, make a consumer on the stream with the address as its filter, every
parameter replaced by `*`. Where `deliver` is `last_per_subject`, that policy gives the whole picture at once, then what
changes: a dashboard may join at any time. The stream {Stream.PROG} is in memory: subscribe again after a reconnect.

**Following a rollout.** Consume `{subjects.progress_subjects()}`; message types are told apart by `type` in the body. A
`rollout-progressed` with a lower `version` than one you have seen is late: drop it. It is over when `status` is succeeded,
reverted, halted or cancelled, or failed with `until` null.

**Headers.** CloudEvents 1.0 in binary mode: `ce-id`, `ce-type`, `ce-source`, `ce-time`, `ce-subject`, and `ce-causationid`,
the id of the message that led to this one. Where the channel says so, structured mode is read too.

**Starting a rollout.** Publish `artifact.published` to `{subjects.release_published("<product>")}`: a CDEvent that names a signed release,
by the digest under which it lies in the artifact store, or with the signed release in it. Or publish `release-announced`.
Either may be sent any number of times; a release is started once.

**Signatures.** What may run on nodes is proven by the release itself, never by the message that brings it. A signed release
is a DSSE envelope: JSON with `payloadType` (`{RELEASE_TYPE}`), `payload` (the release as JSON, in
base64) and `signatures`, each with `keyid` and `sig`. `sig` is the base64 of the Ed25519 signature of the bytes
`DSSEv1 <length of type> <type> <length of payload> <payload>`, lengths in bytes and decimal, one space between. `keyid` is the
first 32 hexadecimal digits of the SHA-256 of the raw public key. The planner verifies it with its list of trusted release keys, checks that the digest is
that of the release, and answers with `release-refused` where one of them does not hold. Commands to nodes are such envelopes
too, signed by the deploy key; nodes refuse others.

**Operator commands** are answered once, with a message whose `cause` is the id of the command.

Ignore fields and types that you do not know: newer versions add some.
"""

TRIGGER = (
    "A signed release is there. Read in binary mode, in structured mode "
    "(content type application/cloudevents+json), and as a bare CDEvent."
)
LIFECYCLE = "What happened, in the words of CDEvents. `context.chainId` is the rollout."
ENVELOPE = "On the wire it is the payload of a DSSE envelope of type application/vnd.bumpless.command+json."
LIVE = "What the stream CMD stored, republished at once: what nodes listen to."
