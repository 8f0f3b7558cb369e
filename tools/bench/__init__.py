"""Benchmarks: each compares two things in one run and holds the ratio to a bound.

`python -m tools.bench` runs every module of this folder that has `measure() -> list[Row]`. The plain
programs that the packages are compared with lie in `straightforward`.
"""
