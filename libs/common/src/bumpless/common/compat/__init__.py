"""What fits together: versions, hops between them, items that come and go, records and how they are moved on.

Pure: no I/O, no clock. Everything known about compatibility is data of the release; nothing here guesses. Where
nothing is stated, the answer is none, and says so.
"""
