"""Patches along an alignment of two files, with references predicted where the file is a program.

`patch` writes and reads the blob; `alignment` and `elf` are the encoder's; the rest is common to both ends.
"""
