"""What `bench_delta.py` is made of: version pairs, tools, measurements and goals."""
