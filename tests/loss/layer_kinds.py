"""Small networks, one for every kind of layer of torch.nn: name, and a function that makes it.

Inputs are `(n, 4)`; parameters stand before the layer, so that its second derivative in its inputs counts, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Make = Callable[[], nn.Module]


class Network(nn.Module):
    """A linear layer, its outputs as a tensor of `shape` for each example, then `layer`, called by `call`."""

    def __init__(
        self, layer: nn.Module, *shape: int, call: Callable[[nn.Module, Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(4, math.prod(shape)), layer
        self.shape, self.call = shape, call

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).view(len(x), *self.shape)
        output = self.layer(hidden) if self.call is None else self.call(self.layer, hidden)
        return output.reshape(len(x), -1)


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Looked(nn.Module):
    """Rows of a table by indices that are made of the inputs, then a linear layer."""

    def __init__(self, layer: nn.Module, *, weighted: bool = False, offsets: bool = False) -> None:
        super().__init__()
        self.layer, self.last, self.offsets = layer, nn.Linear(3, 2), offsets
        self.weights = nn.Parameter(torch.rand(4)) if weighted else None

    def forward(self, x: Tensor) -> Tensor:
        indices = (x.abs() * 3).long() % 6
        if (
            self.offsets
        ):  # bags of 4 rows each, but the first, which has none, and the second, which has all 4 and those
            starts = (4 * torch.arange(len(x))).clamp_min(0)
            starts[1:2] = 0
            rows = self.layer(indices.reshape(-1), starts)
        elif self.weights is not None:
            rows = self.layer(indices, per_sample_weights=self.weights.expand(len(x), 4))
        else:
            rows = self.layer(indices)
        return self.last(rows.tanh()).flatten(1)


def of(make: Callable[[], Any], *shape: int, call: Callable[[Any, Tensor], Tensor] | None = None) -> Make:
    return lambda: Network(make(), *shape, call=call)


def function(of_outputs: Callable[[Tensor], Tensor], *shape: int) -> Make:
    return lambda: Network(Function(of_outputs), *shape)


def packed(layer: nn.Module, x: Tensor) -> Tensor:
    sequences = pack_padded_sequence(x, torch.tensor([4, 3, 2, 4, 1])[: len(x)], batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(sequences)[0], batch_first=True, total_length=4)[0]


def last_two_masked(x: Tensor) -> Tensor:
    return (torch.arange(x.shape[1]) > 0).expand(len(x), -1)


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).transpose(-1, -2)


def symmetric() -> nn.Module:
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


LAYERS: dict[str, Make] = {}

# fmt: off
for name in (
    "ELU", "Hardshrink", "Hardsigmoid", "Hardtanh", "Hardswish", "LeakyReLU", "LogSigmoid", "PReLU", "ReLU",
    "ReLU6", "RReLU", "SELU", "CELU", "GELU", "Sigmoid", "SiLU", "Mish", "Softplus", "Softshrink", "Softsign",
    "Tanh", "Tanhshrink", "Identity", "GLU", "Dropout", "AlphaDropout", "FeatureAlphaDropout", "Flatten",
):
    LAYERS[name] = of(getattr(nn, name), 6)
for name in ("Softmin", "Softmax", "LogSoftmax"):
    LAYERS[name] = of(lambda name=name: getattr(nn, name)(1), 6)
for dims in (1, 2, 3):
    LAYERS[f"Dropout{dims}d"] = of(getattr(nn, f"Dropout{dims}d"), 2, *[3] * dims)
LAYERS |= {
    "GELU, tanh": of(lambda: nn.GELU("tanh"), 6),
    "Hardsigmoid, in place": of(lambda: nn.Hardsigmoid(inplace=True), 6, call=lambda layer, x: layer(x.sin())),
    "PReLU, of channels": of(lambda: nn.PReLU(3), 3, 4),
    "Threshold": of(lambda: nn.Threshold(0.1, 0.2), 6),
    "ReLU, in place": of(lambda: nn.ReLU(inplace=True), 6),
    "Softmax2d": of(nn.Softmax2d, 3, 2, 2),
    "Linear": of(lambda: nn.Linear(6, 3), 6),
    "Bilinear": of(lambda: nn.Bilinear(6, 6, 3), 6, call=lambda layer, x: layer(x, x)),
    "Unflatten": of(lambda: nn.Unflatten(1, (2, 3)), 6),
    "Sequential": of(lambda: nn.Sequential(nn.Linear(6, 3), nn.Tanh()), 6),
    "CosineSimilarity": of(nn.CosineSimilarity, 6, call=lambda layer, x: layer(x, x.roll(1, 1).exp())),
}
for power in (1.0, 2.0, 3.0):
    LAYERS[f"PairwiseDistance, {power}"] = of(
        lambda power=power: nn.PairwiseDistance(power), 6, call=lambda layer, x: layer(x, x.roll(1, 1).exp()))

for dims in (1, 2, 3):
    space, stride = [5] * dims, 1 if dims == 3 else 2
    for padding in ("zeros", "reflect", "replicate", "circular"):
        LAYERS[f"Conv{dims}d, {padding}"] = of(
            lambda dims=dims, padding=padding, stride=stride:
                getattr(nn, f"Conv{dims}d")(2, 3, 3, padding=1, stride=stride, padding_mode=padding), 2, *space)
    LAYERS[f"ConvTranspose{dims}d"] = of(
        lambda dims=dims: getattr(nn, f"ConvTranspose{dims}d")(2, 3, 3, padding=1), 2, *space)
    for name in ("Reflection", "Replication", "Zero", "Constant", "Circular"):
        LAYERS[f"{name}Pad{dims}d"] = of(
            lambda dims=dims, name=name: getattr(nn, f"{name}Pad{dims}d")(*([1, 0.5] if name == "Constant" else [1])),
            2, *[3] * dims)
LAYERS |= {
    "Conv2d, dilated groups": of(lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2), 4, 5, 5),
    "Conv2d, depthwise": of(lambda: nn.Conv2d(4, 8, 3, groups=4), 4, 5, 5),
    "ConvTranspose2d, groups": of(lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1, groups=2), 4, 3, 3),
}

for dims in (1, 2, 3):
    space = [6] * dims
    LAYERS |= {
        f"MaxPool{dims}d": of(lambda d=dims: getattr(nn, f"MaxPool{d}d")(2), 2, *space),
        f"MaxPool{dims}d, overlapping": of(lambda d=dims: getattr(nn, f"MaxPool{d}d")(3, 1, padding=1), 2, *space),
        f"AvgPool{dims}d": of(lambda d=dims: getattr(nn, f"AvgPool{d}d")(2), 2, *space),
        f"LPPool{dims}d": of(lambda d=dims: getattr(nn, f"LPPool{d}d")(3, 2), 2, *space,
                             call=lambda layer, x: layer(x.exp())),
        f"AdaptiveAvgPool{dims}d": of(lambda d=dims: getattr(nn, f"AdaptiveAvgPool{d}d")(4), 2, *space),
        f"AdaptiveAvgPool{dims}d, to 1": of(lambda d=dims: getattr(nn, f"AdaptiveAvgPool{d}d")(1), 2, *space),
        f"AdaptiveMaxPool{dims}d": of(lambda d=dims: getattr(nn, f"AdaptiveMaxPool{d}d")(4), 2, *space),
        f"MaxUnpool{dims}d": of(
            lambda d=dims: getattr(nn, f"MaxUnpool{d}d")(2), 2, *space,
            call=lambda layer, x, d=dims: layer(*getattr(F, f"max_pool{d}d")(x, 2, return_indices=True))),
    }
for dims in (2, 3):
    LAYERS[f"FractionalMaxPool{dims}d"] = of(
        lambda d=dims: getattr(nn, f"FractionalMaxPool{d}d")(
            2, output_size=3, _random_samples=torch.full((5, 2, d), 0.3, dtype=torch.float64)), 2, *[6] * dims)

for dims in (1, 2, 3):
    space = [3] * dims
    for name in ("BatchNorm", "InstanceNorm"):
        norm = getattr(nn, f"{name}{dims}d")
        LAYERS |= {
            f"{name}{dims}d": of(lambda norm=norm: norm(4), 4, *space),
            f"{name}{dims}d, affine": of(lambda norm=norm: norm(4, affine=True, track_running_stats=False), 4, *space),
            f"{name}{dims}d, statistics": of(lambda norm=norm: norm(4, track_running_stats=True), 4, *space),
        }
    LAYERS[f"GroupNorm, {dims}d"] = of(lambda: nn.GroupNorm(2, 4), 4, *space)
    LAYERS[f"LocalResponseNorm, {dims}d"] = of(lambda: nn.LocalResponseNorm(3, alpha=0.5), 4, *space)
LAYERS |= {
    "GroupNorm, features": of(lambda: nn.GroupNorm(2, 6), 6),
    "GroupNorm, one group": of(lambda: nn.GroupNorm(1, 6), 6, 2),
    "GroupNorm, every channel": of(lambda: nn.GroupNorm(4, 4), 4, 3, 3),
    "GroupNorm, not affine": of(lambda: nn.GroupNorm(2, 6, affine=False), 6, 2),
    "LayerNorm": of(lambda: nn.LayerNorm(6), 6),
    "LayerNorm, two axes": of(lambda: nn.LayerNorm((3, 4)), 3, 4),
    "LayerNorm, no bias": of(lambda: nn.LayerNorm(6, bias=False), 6),
    "LayerNorm, not affine": of(lambda: nn.LayerNorm(6, elementwise_affine=False), 6),
    "RMSNorm": of(lambda: nn.RMSNorm(6), 6),
    "RMSNorm, not affine": of(lambda: nn.RMSNorm(6, elementwise_affine=False), 6),
}

for name in ("RNN", "LSTM", "GRU"):
    for words in ({}, {"bidirectional": True}, {"num_layers": 2, "dropout": 0.3}, {"bias": False}):
        LAYERS[f"{name}{''.join(f', {word}' for word in words)}"] = of(
            lambda name=name, words=words: getattr(nn, name)(3, 3, batch_first=True, **words), 4, 3,
            call=lambda layer, x: layer(x)[0])
    LAYERS[f"{name}, packed"] = of(lambda name=name: getattr(nn, name)(3, 3, batch_first=True), 4, 3, call=packed)
LAYERS |= {
    "RNN, ReLU": of(lambda: nn.RNN(3, 3, nonlinearity="relu"), 4, 3,
                    call=lambda layer, x: layer(x.transpose(0, 1))[0].transpose(0, 1)),
    "LSTM, projected": of(lambda: nn.LSTM(3, 4, proj_size=2, batch_first=True), 4, 3,
                          call=lambda layer, x: layer(x)[0]),
    "LSTM, last state": of(lambda: nn.LSTM(3, 4, batch_first=True), 4, 3,
                           call=lambda layer, x: layer(x)[1][0].transpose(0, 1)),
    "RNNCell": of(lambda: nn.RNNCell(3, 3), 3, call=lambda layer, x: layer(x, x)),
    "GRUCell": of(lambda: nn.GRUCell(3, 3), 3, call=lambda layer, x: layer(x, x)),
    "LSTMCell": of(lambda: nn.LSTMCell(3, 3), 3, call=lambda layer, x: torch.cat(layer(x, (x, x)), 1)),
}

block = {"d_model": 4, "nhead": 2, "dim_feedforward": 8, "batch_first": True}
LAYERS |= {
    "MultiheadAttention": of(lambda: nn.MultiheadAttention(4, 2, batch_first=True), 3, 4,
                             call=lambda layer, x: layer(x, x, x)[0]),
    "MultiheadAttention, fused": of(lambda: nn.MultiheadAttention(4, 2, batch_first=True), 3, 4,
                                    call=lambda layer, x: layer(x, x, x, need_weights=False)[0]),
    "MultiheadAttention, masked": of(lambda: nn.MultiheadAttention(4, 2, batch_first=True), 3, 4,
                                     call=lambda layer, x: layer(x, x, x, key_padding_mask=last_two_masked(x))[0]),
    "MultiheadAttention, own biases": of(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True, add_zero_attn=True), 3, 4,
        call=lambda layer, x: layer(x, x, x)[0]),
    "TransformerEncoderLayer": of(lambda: nn.TransformerEncoderLayer(**block), 3, 4),
    "TransformerEncoderLayer, norm first": of(
        lambda: nn.TransformerEncoderLayer(**block, norm_first=True, activation="gelu"), 3, 4),
    "TransformerEncoder": of(lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(**block), 2), 3, 4),
    "TransformerDecoderLayer": of(lambda: nn.TransformerDecoderLayer(**block), 3, 4, call=lambda layer, x: layer(x, x)),
    "TransformerDecoder": of(lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(**block), 1), 3, 4,
                             call=lambda layer, x: layer(x, x)),
    "Transformer": of(lambda: nn.Transformer(4, 2, 1, 1, 8, batch_first=True), 3, 4,
                      call=lambda layer, x: layer(x, x)),
}

for mode, dims in (("nearest", 1), ("linear", 1), ("nearest", 2), ("bilinear", 2), ("bicubic", 2), ("nearest", 3),
                   ("trilinear", 3), ("nearest-exact", 2)):
    LAYERS[f"Upsample, {mode} {dims}d"] = of(lambda mode=mode: nn.Upsample(scale_factor=2, mode=mode), 2, *[3] * dims)
LAYERS |= {
    "UpsamplingNearest2d": of(lambda: nn.UpsamplingNearest2d(scale_factor=2), 2, 3, 3),
    "UpsamplingBilinear2d": of(lambda: nn.UpsamplingBilinear2d(scale_factor=2), 2, 3, 3),
    "PixelShuffle": of(lambda: nn.PixelShuffle(2), 4, 3, 3),
    "PixelUnshuffle": of(lambda: nn.PixelUnshuffle(2), 1, 4, 4),
    "ChannelShuffle": of(lambda: nn.ChannelShuffle(2), 4, 3, 3),
    "Unfold": of(lambda: nn.Unfold(2), 2, 4, 4),
    "Fold": of(lambda: nn.Fold((4, 4), 2), 8, 9),

    "Embedding": lambda: Looked(nn.Embedding(6, 3)),
    "Embedding, padding": lambda: Looked(nn.Embedding(6, 3, padding_idx=1)),
    "Embedding, scaled gradient": lambda: Looked(nn.Embedding(6, 3, scale_grad_by_freq=True)),
    "Embedding, sparse gradient": lambda: Looked(nn.Embedding(6, 3, sparse=True)),
    "EmbeddingBag, weighted": lambda: Looked(nn.EmbeddingBag(6, 3, mode="sum"), weighted=True),
    "EmbeddingBag, sparse gradient": lambda: Looked(nn.EmbeddingBag(6, 3, sparse=True)),
}
for mode in ("sum", "mean", "max"):
    LAYERS |= {
        f"EmbeddingBag, {mode}": lambda mode=mode: Looked(nn.EmbeddingBag(6, 3, mode=mode)),
        f"EmbeddingBag, {mode} padding": lambda mode=mode: Looked(nn.EmbeddingBag(6, 3, mode=mode, padding_idx=-5)),
        f"EmbeddingBag, {mode} offsets": lambda mode=mode: Looked(nn.EmbeddingBag(6, 3, mode=mode), offsets=True),
    }

for axis in (0, 1, None, -1):
    LAYERS[f"weight_norm, dim {axis}"] = of(
        lambda axis=axis: parametrizations.weight_norm(nn.Linear(6, 3), dim=axis), 6)
LAYERS |= {
    "weight_norm, Conv2d": of(lambda: parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), 2, 4, 4),
    "weight_norm, Conv2d dim 2": of(lambda: parametrizations.weight_norm(nn.Conv2d(2, 3, 3), dim=2), 2, 4, 4),
    "weight_norm, last dim": of(lambda: parametrizations.weight_norm(nn.Conv1d(2, 3, 3), dim=2), 2, 4),
    "weight_norm, ConvTranspose2d": of(
        lambda: parametrizations.weight_norm(nn.ConvTranspose2d(2, 3, 3), dim=1), 2, 3, 3),
    "spectral_norm": of(lambda: parametrizations.spectral_norm(nn.Linear(6, 3)), 6),
    "spectral_norm, Conv2d": of(lambda: parametrizations.spectral_norm(nn.Conv2d(2, 3, 3)), 2, 4, 4),
    "spectral_norm, old": of(lambda: nn.utils.spectral_norm(nn.Linear(6, 3)), 6),
    "parametrize, symmetric": of(symmetric, 4),
}
for how in ("matrix_exp", "cayley", "householder"):
    for trivialized in (True, False):
        LAYERS[f"orthogonal, {how}{', trivialized' if trivialized else ''}"] = of(
            lambda how=how, trivialized=trivialized:
                parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map=how, use_trivialization=trivialized), 4)
    LAYERS[f"orthogonal, {how}, not square"] = of(
        lambda how=how: parametrizations.orthogonal(nn.Linear(5, 3), orthogonal_map=how), 5)
# fmt: on
