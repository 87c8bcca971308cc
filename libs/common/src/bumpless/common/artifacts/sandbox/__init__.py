"""Decoding in a confined child process: `decoder` is the parent's side, `patcher` the child's."""
