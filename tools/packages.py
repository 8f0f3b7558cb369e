"""The packages that exist, as the tools see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Package:
    """One package of the house.

    Attributes:
        folder: where it lies.
    """

    folder: Path

    @property
    def program(self) -> str:
        """Its command and distribution, such as `abaw-va`."""
        return self.folder.name

    @property
    def module(self) -> str:
        """Its import name, such as `abaw_va`."""
        return self.program.replace("-", "_")


def packages() -> list[Package]:
    """All packages beside the core, by name."""
    return [Package(path.parent) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
