"""The benchmark against the peers: `make bench`, or `python -m benchmarks.run --help`."""
