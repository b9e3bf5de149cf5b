"""Every public parameter is documented, in the order of the signature."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

import lossatlas

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
SOURCE = Path(lossatlas.__file__).parent
ROOMS = ("loss", "parameters", "training", "results", "alignment")
SHORT = 2  # parameters up to which a sentence may name them


def public_names() -> list[str]:
    """What `import lossatlas` gives, what the reference of the site lists, and what stands in the rooms below it."""
    listed = re.findall(r"^::: (\S+)$", "\n".join(file.read_text() for file in REFERENCE.glob("*.md")), re.MULTILINE)
    return sorted(
        {f"lossatlas.{name}" for name in lossatlas.__all__ if callable(getattr(lossatlas, name))}
        | set(listed)
        | set(names_in(ROOMS))
    )


def names_in(rooms: Iterable[str]) -> Iterator[str]:
    """Functions and classes without an underscore that the files of these rooms define."""
    for room in rooms:
        for file in sorted((SOURCE / room).glob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    yield f"lossatlas.{room}.{file.stem}.{node.name}"


def documented_callables(name: str) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Name, callable and docstring of a public thing: a function, or a class with its methods."""
    thing = pydoc.locate(name)
    assert callable(thing), f"{name} is not there"
    if not is_protocol(thing):
        yield name, thing, inspect.getdoc(thing) or ""
    if not inspect.isclass(thing):
        return
    inherited = {attribute for base in thing.__mro__[1:-1] for attribute in vars(base)}
    for attribute, member in vars(thing).items():
        method = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        named = not attribute.startswith("_") or attribute == "__call__"
        if inspect.isfunction(method) and named and attribute not in inherited:
            yield f"{name}.{attribute}", getattr(thing, attribute), inspect.getdoc(method) or ""


def is_protocol(thing: Any) -> bool:
    """Nobody makes one, so that it has no parameters."""
    return bool(getattr(thing, "_is_protocol", False))


def parameters_of(thing: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


def described_in_args(docstring: str) -> list[str]:
    """Names that the section Args describes, in its order."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)*)", docstring + "\n", re.MULTILINE)
    entries = re.findall(r"^(\*{0,2}\w+(?:, \w+)*): ", textwrap.dedent(section[1]) if section else "", re.MULTILINE)
    return [name.lstrip("*") for entry in entries for name in entry.split(", ")]


def described_fields(thing: Callable[..., Any]) -> list[str]:
    """Fields of a dataclass that have a docstring of their own beneath them."""
    if not is_dataclass(thing):
        return []
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(body, ast.ClassDef)
    return [
        field.target.id
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    ]  # fmt: skip


def undescribed(thing: Callable[..., Any], docstring: str) -> str:
    """What is wrong with a docstring; nothing where every parameter is described in order."""
    wanted = parameters_of(thing)
    described = described_in_args(docstring) or described_fields(thing)
    if described == wanted:
        return ""
    if not described and len(wanted) <= SHORT:
        missing = [name for name in wanted if not re.search(rf"`[^`]*\b{name}\b[^`]*`", docstring)]
        return f"names no {missing}" if missing else ""
    return f"describes {described}, wanted {wanted}"


@pytest.mark.parametrize("name", public_names())
def test_every_parameter_is_described_in_the_order_of_the_signature(name):
    wrong = {
        what: problem
        for what, thing, docstring in documented_callables(name)
        if (problem := undescribed(thing, docstring))
    }
    assert wrong == {}


def test_the_section_is_read_with_its_continuations_and_joint_entries():
    text = "Adds.\n\nArgs:\n    a, b: numbers:\n        of any kind: all.\n    *rest: more.\n\nReturns:\n    c: a sum."
    assert described_in_args(text) == ["a", "b", "rest"]


def test_a_docstring_that_forgets_or_swaps_a_parameter_is_told():
    def three(a, b, *, c):
        """Adds.

        Args:
            a: a number.
            c: another.
        """

    def two(a, b):
        """The sum of `a` and b."""

    assert undescribed(three, inspect.getdoc(three) or "") == "describes ['a', 'c'], wanted ['a', 'b', 'c']"
    assert undescribed(two, inspect.getdoc(two) or "") == "names no ['b']"
