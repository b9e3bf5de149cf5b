"""Findings on ConvNets and residual MLPs beside plain MLPs."""

from __future__ import annotations

from lossatlas.study.analysis.evidence import CONVNETS, RESIDUAL_MLPS, mean_of
from lossatlas.study.analysis.findings.finding import NATS, WIDTH, Finding
from lossatlas.study.analysis.rules import within

FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="conv_interpolates_like_deep_mlps",
        axis="ConvNet and residual MLP",
        statement=(
            "ConvNets rise on the path from initial to final weights as little as MLPs of several hidden layers, "
            "within 0.05 nats."
        ),
        number="Rise of the training loss on the interpolation path, ConvNets minus deep MLPs",
        measure=mean_of(CONVNETS, "interpolate_rise"),
        rule=within(0.05, step=NATS),
        needs="ConvNets beside MLPs of several hidden layers",
        of="matched groups of networks",
    ),
    Finding(
        name="conv_slices_like_deep_mlps",
        axis="ConvNet and residual MLP",
        statement=(
            "ConvNets have basins along random directions as wide as those of MLPs of several hidden layers, within "
            "0.2 of a range of 2."
        ),
        number="Width of the random slice, ConvNets minus deep MLPs",
        measure=mean_of(CONVNETS, "random_line_width"),
        rule=within(0.2, step=WIDTH),
        needs="ConvNets beside MLPs of several hidden layers",
        of="matched groups of networks",
    ),
    Finding(
        name="residual_interpolates_like_deep_mlps",
        axis="ConvNet and residual MLP",
        statement=(
            "residual MLPs rise on the path from initial to final weights as little as MLPs of several hidden "
            "layers, within 0.05 nats."
        ),
        number="Rise of the training loss on the interpolation path, residual MLPs minus deep MLPs",
        measure=mean_of(RESIDUAL_MLPS, "interpolate_rise"),
        rule=within(0.05, step=NATS),
        needs="residual MLPs beside MLPs of several hidden layers",
        of="matched groups of networks",
    ),
    Finding(
        name="residual_slices_like_deep_mlps",
        axis="ConvNet and residual MLP",
        statement=(
            "residual MLPs have basins along random directions as wide as those of MLPs of several hidden layers, "
            "within 0.2 of a range of 2."
        ),
        number="Width of the random slice, residual MLPs minus deep MLPs",
        measure=mean_of(RESIDUAL_MLPS, "random_line_width"),
        rule=within(0.2, step=WIDTH),
        needs="residual MLPs beside MLPs of several hidden layers",
        of="matched groups of networks",
    ),
)
