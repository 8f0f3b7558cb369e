"""Settings of all tests."""

# pytest's importlib mode would otherwise take the folder `shared_core` for the package of that name.
import shared_core  # noqa: F401
