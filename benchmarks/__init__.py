"""Every number that the README quotes is printed by a file here: `python -m benchmarks.NAME`."""
