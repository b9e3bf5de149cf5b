"""lossatlas: measure, draw and compare the loss landscapes of neural networks."""

from lossatlas import accessor as accessor  # registers `result.atlas`
from lossatlas.exports import export
from lossatlas.imports import read_loss_landscape
from lossatlas.loss import Loss, accuracy
from lossatlas.model_report.problem import Problem
from lossatlas.parameters import Layout
from lossatlas.probes.block_spectrum import block_spectrum
from lossatlas.probes.connectivity import linear_connectivity
from lossatlas.probes.density import spectral_density
from lossatlas.probes.eigenvector_plane import eigenvector_plane
from lossatlas.probes.interpolation import interpolate
from lossatlas.probes.model_plane import model_plane
from lossatlas.probes.regularization import interpolate_by_weight_decay, slice_by_weight_decay
from lossatlas.probes.sharpness import epsilon_sharpness
from lossatlas.probes.slices import random_line, random_plane
from lossatlas.probes.spectrum import spectrum
from lossatlas.probes.trajectory_plane import trajectory_plane
from lossatlas.recorder import Recorder, read_checkpoints
from lossatlas.results import load, save

__all__ = [
    "Layout",
    "Loss",
    "Problem",
    "Recorder",
    "accuracy",
    "block_spectrum",
    "eigenvector_plane",
    "epsilon_sharpness",
    "export",
    "interpolate",
    "interpolate_by_weight_decay",
    "linear_connectivity",
    "load",
    "model_plane",
    "random_line",
    "random_plane",
    "read_checkpoints",
    "read_loss_landscape",
    "save",
    "slice_by_weight_decay",
    "spectral_density",
    "spectrum",
    "trajectory_plane",
]
