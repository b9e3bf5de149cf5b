"""One question about the landscape per file; each answers with a labelled dataset, and declares itself.

`PROBES` is the one list of them, in the order of a report: the command line, a study's configuration, estimates of
time, tables, figures, reports and the pages of the site read it. A new probe is a file with its function and its
`PROBE`, and an import and a line here.
"""

from lossatlas.probes.connectivity.linear_connectivity import linear_connectivity as linear_connectivity
from lossatlas.probes.curvature.block_spectrum import block_spectrum as block_spectrum
from lossatlas.probes.curvature.spectral_density import spectral_density as spectral_density
from lossatlas.probes.curvature.spectrum import spectrum as spectrum
from lossatlas.probes.examples.example_concentration import example_concentration as example_concentration
from lossatlas.probes.probe import Probe, declarations
from lossatlas.probes.sharpness.epsilon_sharpness import epsilon_sharpness as epsilon_sharpness
from lossatlas.probes.sharpness.trajectory_sharpness import trajectory_sharpness as trajectory_sharpness
from lossatlas.probes.slices.eigenvector_plane import eigenvector_plane as eigenvector_plane
from lossatlas.probes.slices.interpolate import interpolate as interpolate
from lossatlas.probes.slices.interpolate_by_weight_decay import (
    interpolate_by_weight_decay as interpolate_by_weight_decay,
)
from lossatlas.probes.slices.model_plane import model_plane as model_plane
from lossatlas.probes.slices.random_line import random_line as random_line
from lossatlas.probes.slices.random_plane import random_plane as random_plane
from lossatlas.probes.slices.slice_by_weight_decay import slice_by_weight_decay as slice_by_weight_decay
from lossatlas.probes.slices.trajectory_plane import trajectory_plane as trajectory_plane

PROBES: tuple[Probe, ...] = declarations(
    interpolate,
    random_line,
    random_plane,
    trajectory_plane,
    trajectory_sharpness,
    linear_connectivity,
    model_plane,
    spectrum,
    spectral_density,
    block_spectrum,
    eigenvector_plane,
    epsilon_sharpness,
    example_concentration,
    interpolate_by_weight_decay,
    slice_by_weight_decay,
)
BY_NAME: dict[str, Probe] = {probe.name: probe for probe in PROBES}
