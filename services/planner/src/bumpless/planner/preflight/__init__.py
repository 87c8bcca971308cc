"""Everything that can be known to be wrong or risky before anything runs. Pure.

One module per concern, each with one function from a `Case` to findings; `registry` names them all. A check that
looks at something new joins there.
"""
