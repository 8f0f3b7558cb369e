"""The other sides of the benchmarks, by package: plain programs for the same task."""
