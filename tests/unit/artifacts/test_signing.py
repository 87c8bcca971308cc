"""Who may sign what."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bumpless.common.artifacts.errors import Untrusted
from bumpless.common.artifacts.manifest import Artifact, BlobRef, DeltaRef, open_artifact, sign_artifact
from bumpless.common.artifacts.signing import PublicKey, Role, SigningKey, TrustStore
from bumpless.common.contract.envelope import ARTIFACT_TYPE, Envelope, Signature

TYPE = "application/vnd.bumpless.test"
P = 2**255 - 19


@pytest.fixture
def key():
    return SigningKey.generate()


def small_order_encodings():
    """Every 32-byte string that decodes to a point whose order divides 8, computed from the curve (RFC 8032, 5.1)."""
    d = -121665 * pow(121666, P - 2, P) % P
    root = pow(2, (P - 1) // 4, P)

    def sqrt(value):
        x = pow(value, (P + 3) // 8, P)
        x = x if x * x % P == value else x * root % P
        return x if x * x % P == value else None

    def add(one, two):
        (x1, y1), (x2, y2) = one, two
        k = d * x1 * x2 * y1 * y2 % P
        x = (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P
        return x, (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P

    def order_divides_8(point):
        for _ in range(3):
            point = add(point, point)
        return point == (0, 1)

    # Orders 1, 2 and 4 have y in {1, -1, 0}. A point of order 8 doubles to y = 0, so y^2 = -x^2, which the curve
    # turns into d*y^4 + 2*y^2 - 1 = 0.
    disc = sqrt((1 + d) % P)
    squares = [(sign * disc - 1) * pow(d, P - 2, P) % P for sign in (1, -1)]
    ys = {0, 1, P - 1}
    for square in squares:
        if (y := sqrt(square)) is not None:
            ys |= {y, P - y}
    found = set()
    for y in ys:
        x = sqrt((y * y - 1) * pow(d * y * y + 1, P - 2, P) % P)
        if x is not None and order_divides_8((x, y)):
            for encoded in (y, y + P):
                if encoded < 2**255:
                    found |= {encoded.to_bytes(32, "little"), (encoded | 1 << 255).to_bytes(32, "little")}
    return sorted(found)


def test_the_payload_comes_back_as_it_was_signed(key):
    trust = TrustStore.of(release=key.public)
    received = Envelope.from_bytes(key.sign(TYPE, b'{"b": 1, "a": 2}').to_bytes())
    assert trust.verify(received, payload_type=TYPE, role=Role.RELEASE) == b'{"b": 1, "a": 2}'


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size):
    with pytest.raises(Untrusted, match="32 bytes"):
        PublicKey(bytes(size))


def test_there_are_14_encodings_of_small_order():
    assert len(small_order_encodings()) == 14


@pytest.mark.parametrize("raw", small_order_encodings(), ids=bytes.hex)
def test_keys_of_small_order_are_refused(raw):
    with pytest.raises(Untrusted, match="small-order"):
        PublicKey(raw)


def test_every_kind_of_distrust_has_its_message(key):
    other, deployer = SigningKey.generate(), SigningKey.generate()
    trust = TrustStore.of(release=key.public, deploy=deployer.public)
    good = key.sign(TYPE, b"x")
    forged = Signature(keyid=key.public.keyid, sig=other.sign(TYPE, b"x").signatures[0].sig)
    cases = {
        "no signature": good.model_copy(update={"signatures": ()}),
        "found a text/plain": key.sign("text/plain", b"x"),
        "unknown keys": other.sign(TYPE, b"x"),
        "of role deploy": deployer.sign(TYPE, b"x"),
        "other bytes or keys": good.model_copy(update={"payload": b"y"}),
        "found a signature of other": good.model_copy(update={"signatures": (forged,)}),
        "a valid signature of": good.model_copy(
            update={"signatures": (Signature(keyid=key.public.keyid, sig=b""),)}
        ),
    }
    for message, envelope in cases.items():
        with pytest.raises(Untrusted, match=message):
            trust.verify(envelope, payload_type=TYPE, role=Role.RELEASE)


def test_one_good_signature_among_others_is_enough(key):
    strangers = SigningKey.generate().sign(TYPE, b"x")
    both = strangers.model_copy(update={"signatures": strangers.signatures + key.sign(TYPE, b"x").signatures})
    trust = TrustStore.of(release=key.public)
    assert trust.verify(both, payload_type=TYPE, role=Role.RELEASE) == b"x"


def test_a_private_key_is_kept_private(tmp_path, key):
    path = tmp_path / "key.pem"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public == key.public
    assert "PRIVATE" not in repr(key)
    with pytest.raises(FileExistsError):
        key.save(path)
    path.chmod(0o640)
    with pytest.raises(Untrusted, match="0640"):
        SigningKey.load(path)


def test_only_ed25519_keys_are_loaded(tmp_path):
    path = tmp_path / "key.pem"
    pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (pem, b"nonsense"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(Untrusted):
            SigningKey.load(path)


def test_a_trust_store_comes_back(tmp_path, key):
    trust = TrustStore.of(release=key.public, deploy=SigningKey.generate().public)
    trust.save(tmp_path / "trust.json")
    assert TrustStore.load(tmp_path / "trust.json") == trust


@pytest.mark.parametrize(
    "change",
    [
        {"keyid": "0" * 32},
        {"role": "root"},
        {"public": "AA=="},
        {"public": "!"},
        {"public": "A" * 43 + "="},
        {"more": 1},
    ],
)
def test_a_trust_store_with_one_bad_key_is_refused(tmp_path, key, change):
    row = {"role": "release", "keyid": key.public.keyid, "public": key.public.text} | change
    (tmp_path / "trust.json").write_text(json.dumps({"keys": [row]}))
    with pytest.raises(Untrusted):
        TrustStore.load(tmp_path / "trust.json")


def artifact():
    name = "sha256:" + "0" * 64
    delta = DeltaRef(digest=name, size=1, from_root=name, from_version="1.0")
    full = BlobRef(digest=name, size=2)
    return Artifact(name="api", version="1.1", root=name, full=full, deltas=(delta,), tree_size=10, files=1)


def test_an_artifact_comes_back_from_its_envelope(key):
    received = sign_artifact(artifact(), key).to_bytes()
    assert open_artifact(received, TrustStore.of(release=key.public)) == artifact()
    with pytest.raises(Untrusted, match="role deploy"):
        open_artifact(received, TrustStore.of(deploy=key.public))


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"format":2}'])
def test_a_signed_payload_that_is_no_artifact_is_refused(key, payload):
    with pytest.raises(Untrusted, match="format 1"):
        open_artifact(key.sign(ARTIFACT_TYPE, payload).to_bytes(), TrustStore.of(release=key.public))


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b"[" * 100_000])
def test_bytes_that_are_no_envelope_are_refused(key, data):
    with pytest.raises(Untrusted):
        open_artifact(data, TrustStore.of(release=key.public))


@pytest.mark.parametrize(
    "field",
    [
        {"name": "../x"},
        {"version": "../1"},
        {"version": ""},
        {"root": "sha256:00"},
        {"root": "sha256:" + "0" * 64 + "\n"},
    ],
)
def test_an_artifact_names_nothing_but_itself(field):
    with pytest.raises(ValueError, match="pattern"):
        Artifact.model_validate(artifact().model_dump() | field)
