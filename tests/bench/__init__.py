"""Benchmarks: durations and ratios, measured in one run by ``make bench``."""
