"""Benchmarks: each compares two things in one run and holds the ratio to a bound.

`python -m tools.bench` runs every module here that has `measure() -> list[Row]`.
"""
