"""Words and pictures of plans and rollouts: one place for previews, status, goldens and logs. Pure.

What is shown does not depend on the order in which nodes and batches were given, so two pictures differ only where
two plans do.
"""

from bumpless.common.render.charts import dot, mermaid
from bumpless.common.render.lanes import graph
from bumpless.common.render.plans import ending, page, plan
from bumpless.common.render.rollouts import log_entry, status
from bumpless.common.render.svg import svg
from bumpless.common.render.tree import tree
from bumpless.common.render.view import PlanView, view

__all__ = [
    "PlanView",
    "dot",
    "ending",
    "graph",
    "log_entry",
    "mermaid",
    "page",
    "plan",
    "status",
    "svg",
    "tree",
    "view",
]
