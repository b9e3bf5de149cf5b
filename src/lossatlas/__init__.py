"""lossatlas: measure, draw and compare the loss landscapes of neural networks."""

from lossatlas import accessor as accessor  # registers `result.atlas`
from lossatlas.loss.loss import Loss, accuracy
from lossatlas.model_report.problem import Problem
from lossatlas.parameters.layout import Layout
from lossatlas.probes.connectivity.linear_connectivity import linear_connectivity
from lossatlas.probes.curvature.block_spectrum import block_spectrum
from lossatlas.probes.curvature.spectral_density import spectral_density
from lossatlas.probes.curvature.spectrum import spectrum
from lossatlas.probes.sharpness.epsilon_sharpness import epsilon_sharpness
from lossatlas.probes.slices.eigenvector_plane import eigenvector_plane
from lossatlas.probes.slices.interpolate import interpolate
from lossatlas.probes.slices.interpolate_by_weight_decay import interpolate_by_weight_decay
from lossatlas.probes.slices.model_plane import model_plane
from lossatlas.probes.slices.random_line import random_line
from lossatlas.probes.slices.random_plane import random_plane
from lossatlas.probes.slices.slice_by_weight_decay import slice_by_weight_decay
from lossatlas.probes.slices.trajectory_plane import trajectory_plane
from lossatlas.results.export import export
from lossatlas.results.loss_landscape import read_loss_landscape
from lossatlas.results.storage import load, save
from lossatlas.training.checkpoints import read_checkpoints
from lossatlas.training.recorder import Recorder

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
