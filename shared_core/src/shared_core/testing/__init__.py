"""What the tests of all packages share: command lines, processes, faults, real and tiny data.

Imported by tests only; what needs pytest finds it in the extra `testing`.
"""
