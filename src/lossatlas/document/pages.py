"""Pages of HTML that work from disk, without server and network: templates, scripts of data, the assets they share."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from lossatlas.document.html import script
from lossatlas.figures import interactive
from lossatlas.files import write_bytes, write_text

ASSETS = "assets"


def environment(*packages: str) -> Environment:
    """Templates of these packages, and `page.html.jinja` and `document.html.jinja` of this one."""
    loaders = [PackageLoader(package) for package in (*packages, "lossatlas.document")]
    return Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def write_page(file: Path, templates: Environment, template: str, root: str, **values: Any) -> Path:
    """A page from which `root` leads to the folder of the report."""
    text = templates.get_template(f"{template}.html.jinja").render(root=root, **values)
    write_text(file, text.rstrip() + "\n")
    return file


def write_script(file: Path, name: str, value: Any) -> Path:
    """A value for the scripts of the pages, as `lossatlas.<name>`."""
    write_text(file, f"window.lossatlas = window.lossatlas || {{}};\nlossatlas.{name} = {script(value)};\n")
    return file


def write_planes(file: Path, key: str, planes: dict[str, Any]) -> Path:
    """The data of surfaces that turn: a script that hands them over, since a page from disk may not read a file."""
    write_text(file, f"lossatlas.receive({script(key)}, {script(planes)});\n")
    return file


def write_assets(assets: Path, *packages: str) -> list[Path]:
    """Style sheets and scripts of this package and these, the style of surfaces, plotly's library as it is shipped.

    A page reads plotly only when a surface is wanted.
    """
    found = {}
    for package in ("lossatlas.document", *packages):
        own = resources.files(package) / "assets"
        found |= {entry.name: entry.read_bytes() for entry in own.iterdir() if entry.name.endswith((".css", ".js"))}
    found["plotly.min.js"] = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    for name, data in sorted(found.items()):
        write_bytes(assets / name, data)
    style = write_script(assets / "surface-style.js", "style", interactive.STYLE)
    return [*(assets / name for name in sorted(found)), style]
