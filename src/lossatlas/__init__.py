"""lossatlas: measure, draw and compare the loss landscapes of neural networks.

A name is imported when it is asked for: torch takes seconds, and `lossatlas --help` wants none of it. What reads a
result that xarray opened, `result.atlas`, is there at once.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lossatlas import accessor as accessor  # registers `result.atlas`

if TYPE_CHECKING:
    from lossatlas.loss.loss import Loss as Loss
    from lossatlas.loss.metrics import accuracy as accuracy
    from lossatlas.loss.metrics import multilabel_accuracy as multilabel_accuracy
    from lossatlas.loss.metrics import one_hot_accuracy as one_hot_accuracy
    from lossatlas.loss.metrics import top_k_accuracy as top_k_accuracy
    from lossatlas.model_report.problem import Problem as Problem
    from lossatlas.parameters.layout import Layout as Layout
    from lossatlas.probes import *  # noqa: F403 (every probe's function)
    from lossatlas.probes import PROBES as PROBES
    from lossatlas.results.export import export as export
    from lossatlas.results.loss_landscape import read_loss_landscape as read_loss_landscape
    from lossatlas.results.storage import load as load
    from lossatlas.results.storage import save as save
    from lossatlas.training.checkpoints import read_checkpoints as read_checkpoints
    from lossatlas.training.recorder import Recorder as Recorder

# Where each name is; every other one is a probe's, which `lossatlas.probes` lists.
PLACES = {
    "PROBES": "probes",
    "Layout": "parameters.layout",
    "Loss": "loss.loss",
    "Problem": "model_report.problem",
    "Recorder": "training.recorder",
    "accuracy": "loss.metrics",
    "export": "results.export",
    "load": "results.storage",
    "multilabel_accuracy": "loss.metrics",
    "one_hot_accuracy": "loss.metrics",
    "read_checkpoints": "training.checkpoints",
    "read_loss_landscape": "results.loss_landscape",
    "save": "results.storage",
    "top_k_accuracy": "loss.metrics",
}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [*PLACES, *(probe.name for probe in import_module("lossatlas.probes").PROBES)]
    if not name.startswith("_"):
        if name in PLACES:
            return getattr(import_module(f"lossatlas.{PLACES[name]}"), name)
        if find_spec(f"lossatlas.{name}") is not None:
            return import_module(f"lossatlas.{name}")
        probes = import_module("lossatlas.probes")
        if name in probes.BY_NAME:
            return getattr(probes, name)
    raise AttributeError(f"module 'lossatlas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__getattr__("__all__"))
