"""lossatlas: measure, draw and compare the loss landscapes of neural networks."""

from lossatlas import accessor as accessor  # registers `result.atlas`
from lossatlas.loss.loss import Loss
from lossatlas.loss.metrics import accuracy, multilabel_accuracy, one_hot_accuracy, top_k_accuracy
from lossatlas.model_report.problem import Problem
from lossatlas.parameters.layout import Layout
from lossatlas.probes import *  # noqa: F403 (every probe's function; `PROBES` lists them)
from lossatlas.probes import PROBES
from lossatlas.results.export import export
from lossatlas.results.loss_landscape import read_loss_landscape
from lossatlas.results.storage import load, save
from lossatlas.training.checkpoints import read_checkpoints
from lossatlas.training.recorder import Recorder

__all__ = [
    "PROBES",
    "Layout",
    "Loss",
    "Problem",
    "Recorder",
    "accuracy",
    "export",
    "load",
    "multilabel_accuracy",
    "one_hot_accuracy",
    "read_checkpoints",
    "read_loss_landscape",
    "save",
    "top_k_accuracy",
    *(probe.name for probe in PROBES),
]


def __dir__() -> list[str]:
    return sorted(__all__)
