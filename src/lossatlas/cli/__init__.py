"""The command line: `lossatlas run`, `report`, `list`, `show`, `probe` and `check`."""

from lossatlas.cli.commands import main, parse

__all__ = ["main", "parse"]
