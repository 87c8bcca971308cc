"""The sequential test of new nodes against old ones: arithmetic on counts, and nothing else."""

from bumpless.health_gate.sequential.combined import SequentialTest
from bumpless.health_gate.sequential.release import Carried, CarriedKind
from bumpless.health_gate.sequential.spec import Counts, ErrorSpec, LatencySpec, RuleSpec, TestSpec, Tick

__all__ = [
    "Carried",
    "CarriedKind",
    "Counts",
    "ErrorSpec",
    "LatencySpec",
    "RuleSpec",
    "SequentialTest",
    "TestSpec",
    "Tick",
]
