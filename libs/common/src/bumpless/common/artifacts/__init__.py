"""Trees of files, the packages that carry them, and the signatures and stores that deliver the packages.

`tree` names a directory by its content, `delta` packs it, `rebuild` unpacks it again, `build` and `stage` are the
two ends of a delivery. Nothing here knows of rollouts, nodes or messages.
"""
