"""Each range in pyproject.toml begins with the version that `make lowest` tests, and holds that of `make test`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
# torch is tested in one version only: another is several GB.
RANGES = [
    requirement
    for requirement in map(
        Requirement,
        [*PYPROJECT["build-system"]["requires"], *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["study"]],
    )
    if requirement.name != "torch"
]


def locked(name: str) -> dict[str, Version]:
    """The versions in a lock file by the package's name in small letters."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", package).lower(): Version(version) for package, version in pairs}


LOCKED, LOWEST = locked("requirements.lock"), locked("requirements-lowest.lock")


@pytest.mark.parametrize("requirement", RANGES, ids=lambda requirement: requirement.name)
def test_a_range_begins_with_the_lowest_version_that_is_tested(requirement):
    bounds = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
    assert bounds == [LOWEST[requirement.name]]


@pytest.mark.parametrize("requirement", RANGES, ids=lambda requirement: requirement.name)
def test_a_range_holds_the_locked_version(requirement):
    assert requirement.specifier.contains(LOCKED[requirement.name])


def test_what_is_not_put_to_the_test_has_the_same_version_in_both_locks():
    development = {Requirement(line).name for line in PYPROJECT["dependency-groups"]["dev"]} | {"torch"}
    assert {name: LOCKED[name] for name in development & LOWEST.keys()} == {
        name: LOWEST[name] for name in development & LOWEST.keys()
    }
