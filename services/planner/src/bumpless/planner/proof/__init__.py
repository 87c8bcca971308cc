"""The independent checker: proves a plan's invariants without knowing how it was made.

It reads the release, the fleet and the plan, and nothing of what makes plans. What it finds is a fault of the planner,
and the plan does not run.
"""

from bumpless.planner.proof.check import PROOFS, check, faults

__all__ = ["PROOFS", "check", "faults"]
