"""`python -m tools.new_package NAME`: a package with every room, a working `train`, green tests."""
