"""The sequential test of new nodes against old ones: arithmetic on counts, and nothing else."""

from bumpless.common.sequential.combined import SequentialTest
from bumpless.common.sequential.release import Carried, CarriedKind
from bumpless.common.sequential.spec import Counts, ErrorSpec, LatencySpec, RuleSpec, TestSpec, Tick

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
