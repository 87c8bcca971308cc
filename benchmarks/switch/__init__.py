"""What `bench_switch.py` is made of: the load, a node, the services that are switched, peers, figures and goals."""
