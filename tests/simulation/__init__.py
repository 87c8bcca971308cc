"""The core under simulation: the production decisions and shell over a simulated network, store, clock and fleet.

Everything comes from one seed. See docs/simulation.md.
"""
