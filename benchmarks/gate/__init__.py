"""The parts of `make bench-gate`: scenarios, gates and peers, and what is said about them."""
