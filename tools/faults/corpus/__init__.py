"""Hostile and damaged files, made from fixed seeds: what the rows of data faults are tried with."""
