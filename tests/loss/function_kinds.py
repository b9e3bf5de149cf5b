"""Functions of torch that stand between parameters and the loss, and its criteria, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (4, 4)  # of the outputs that a function takes, for each example
PLACES = torch.tensor([[[0, 2, 1, 1]] * 4])
PERMUTED = torch.tensor([[[0, 2, 1, 3]] * 4])


def spd(x: Tensor) -> Tensor:
    return x @ x.transpose(-1, -2) + torch.eye(x.shape[-1], dtype=x.dtype)


def each(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.stack([function(example) for example in x])


def sampled(x: Tensor, mode: str, padding: str) -> Tensor:
    grid = 1.1 * torch.tanh(x[:, :2, :, None].expand(-1, -1, -1, 4) + torch.linspace(-1, 1, 4, dtype=x.dtype))
    return F.grid_sample(x[:, None], grid.permute(0, 2, 3, 1), mode=mode, padding_mode=padding, align_corners=False)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "normalize": lambda x: F.normalize(x, dim=-1),
    "attention": lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None]),
    "attention, causal": lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True),
    "attention, masked": lambda x: F.scaled_dot_product_attention(
        x[:, None], x[:, None], x[:, None], attn_mask=torch.ones(4, 4, dtype=torch.bool).tril()
    ),
    "attention, grouped": lambda x: F.scaled_dot_product_attention(
        x.view(-1, 4, 2, 2), x.view(-1, 4, 2, 2)[:, :2], x.view(-1, 4, 2, 2)[:, 2:], enable_gqa=True
    ),
    "group_norm": lambda x: F.group_norm(x, 2),
    "torch.group_norm": lambda x: torch.group_norm(x, 4),
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "rms_norm": lambda x: F.rms_norm(x, (4,)),
    "instance_norm": F.instance_norm,
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "_weight_norm": lambda x: torch._weight_norm(x, x.norm(dim=(1, 2), keepdim=True).exp(), 0),
    "bilinear": lambda x: F.bilinear(x, x, torch.ones(2, 4, 4, dtype=x.dtype)),
    "hardsigmoid": F.hardsigmoid,
    "embedding": each(lambda x: F.embedding(torch.tensor([0, 1, 1]), x, padding_idx=0)),
    "embedding_bag": each(
        lambda x: F.embedding_bag(torch.tensor([0, 1, 1, 2]), x, torch.tensor([0, 3, 3]), mode="sum")
    ),
    "embedding_bag, last offset": each(
        lambda x: F.embedding_bag(
            torch.tensor([3, 1, 1, 2]), x, torch.tensor([0, 3, 4]), mode="max", include_last_offset=True
        )
    ),
    "interpolate, area": lambda x: F.interpolate(x[:, None], size=(5, 3), mode="area"),
    "interpolate, antialias": lambda x: F.interpolate(x[:, None], size=(3, 3), mode="bilinear", antialias=True),
    "interpolate, bicubic antialias": lambda x: F.interpolate(x[:, None], size=(3, 3), mode="bicubic", antialias=True),
    "interpolate, aligned": lambda x: F.interpolate(x[:, None], size=(5, 5), mode="bilinear", align_corners=True),
    **{
        f"grid_sample, {mode} {padding}": lambda x, mode=mode, padding=padding: sampled(x, mode, padding)
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
    },
    **{f"cdist, {p}": lambda x, p=p: torch.cdist(x, x.exp(), p=p) for p in (1.0, 1.5, 2.0, 3.0, torch.inf)},
    "cdist, of itself": lambda x: torch.cdist(x, x),
    "cdist, matrix product": lambda x: torch.cdist(x, x.exp(), compute_mode="use_mm_for_euclid_dist"),
    "pdist": each(F.pdist),
    "pdist, 1": each(lambda x: F.pdist(x, 1.0)),
    "cosine_similarity": lambda x: F.cosine_similarity(x, x.exp(), -1),
    "ctc_loss": lambda x: F.ctc_loss(
        x.log_softmax(-1).transpose(0, 1), torch.tensor([[1, 2]] * len(x)), [4] * len(x), [2] * len(x), reduction="none"
    ),
    "einsum": lambda x: torch.einsum("nij,nkj->nik", x, x.sin()),
    "baddbmm": lambda x: torch.baddbmm(x, x, x),
    "kron": each(lambda x: torch.kron(x, x)),
    "tensordot": lambda x: torch.tensordot(x, x[0], 1),
    "cross": lambda x: torch.linalg.cross(x[..., :3], x[..., 1:]),
    "block_diag": each(lambda x: torch.block_diag(x, x)),
    "fft": lambda x: torch.view_as_real(torch.fft.fft(x)),
    "rfft2": lambda x: torch.fft.rfft2(x).abs(),
    "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x) ** 2),
    "stft": lambda x: torch.stft(
        x.flatten(1), 4, window=torch.hann_window(4, dtype=x.dtype), return_complex=True
    ).abs(),
    "complex": lambda x: torch.view_as_real(torch.complex(x, x.sin()) @ torch.complex(x, x.cos())),
    "polar": lambda x: (torch.polar(x.exp(), x) ** 2).real,
    "atan2": lambda x: torch.atan2(x, x.exp()),
    "svd": lambda x: torch.linalg.svd(x)[0].square(),
    "svdvals": torch.linalg.svdvals,
    "eigh": lambda x: torch.linalg.eigh(spd(x))[0],
    "eigh, vectors": lambda x: torch.linalg.eigh(spd(x))[1].square(),
    "eig": lambda x: torch.linalg.eig(spd(x))[0].real,
    "qr": lambda x: torch.linalg.qr(x)[1].square(),
    "lu": lambda x: torch.linalg.lu(x)[2],
    "cholesky": lambda x: torch.linalg.cholesky(spd(x)),
    "cholesky_solve": lambda x: torch.cholesky_solve(x, torch.linalg.cholesky(spd(x))),
    "solve": lambda x: torch.linalg.solve(spd(x), x),
    "lstsq": lambda x: torch.linalg.lstsq(spd(x), x).solution,
    "solve_triangular": lambda x: torch.linalg.solve_triangular(spd(x), x, upper=True),
    "inv": lambda x: torch.linalg.inv(spd(x)),
    "pinv": torch.linalg.pinv,
    "det": lambda x: torch.linalg.det(spd(x)),
    "slogdet": lambda x: torch.linalg.slogdet(spd(x))[1],
    "matrix_exp": torch.linalg.matrix_exp,
    "matrix_power": lambda x: torch.linalg.matrix_power(x, 3),
    "matrix_norm": torch.linalg.matrix_norm,
    "nuclear norm": lambda x: torch.linalg.matrix_norm(x, "nuc"),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, 3, dim=-1),
    "renorm": lambda x: torch.renorm(x, 2, 0, 0.5),
    "householder_product": lambda x: torch.linalg.householder_product(x, x[..., 0].sigmoid()),
    "gather": lambda x: x.gather(-1, PLACES.expand(len(x), -1, -1)) ** 2,
    "scatter": lambda x: torch.zeros_like(x).scatter(-1, PERMUTED.expand(len(x), -1, -1), x**2),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(-1, PLACES.expand(len(x), -1, -1), x**2),
    **{
        f"scatter_reduce, {how}": lambda x, how=how: torch.ones_like(x).scatter_reduce(
            -1, PLACES.expand(len(x), -1, -1), x + 2, how
        )
        for how in ("mean", "amax", "prod")
    },
    "index_add": lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 1, 1, 3]), x**2),
    "index_put": lambda x: x.clone().index_put(
        (torch.arange(len(x)), torch.zeros(len(x), dtype=torch.long)), x[:, 1] ** 2
    ),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argsort(-1), -1) ** 2,
    "masked_fill": lambda x: x.masked_fill(x > 0.5, 0.0) ** 2,
    "as_strided": lambda x: x.as_strided((len(x), 3), (16, 1)) ** 2,
    "unfold": lambda x: x.unfold(1, 2, 1) ** 2,
    "sparse matrix": each(lambda x: torch.sparse.mm(torch.eye(4, dtype=x.dtype).to_sparse(), x) ** 2),
    "sort": lambda x: x.sort(-1)[0] ** 2,
    "topk": lambda x: x.topk(2, -1)[0] ** 2,
    "kthvalue": lambda x: x.kthvalue(2)[0],
    "median": lambda x: x.median(-1)[0],
    "quantile": lambda x: x.quantile(0.3, -1),
    "amax": lambda x: x.amax(-1),
    "cumprod": lambda x: x.cumprod(-1),
    "cumsum": lambda x: x.cumsum(-1),
    "logcumsumexp": lambda x: x.logcumsumexp(-1),
    "cummax": lambda x: x.cummax(-1)[0],
    "prod": lambda x: x.prod(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "std": lambda x: x.std(-1),
    "var": lambda x: x.var(-1),
    "cov": each(torch.cov),
    "corrcoef": each(torch.corrcoef),
    "clamp": lambda x: x.clamp(-0.3, 0.3),
    "where": lambda x: torch.where(x > 0, x.sin(), x**2),
    "lerp": lambda x: torch.lerp(x, x.sin(), x.sigmoid()),
    "pow": lambda x: x.exp() ** x,
    "remainder": lambda x: torch.remainder(x, 0.7) ** 2,
    "hypot": lambda x: torch.hypot(x, x.exp()),
    "logaddexp": lambda x: torch.logaddexp(x, x.sin()),
    "xlogy": lambda x: torch.special.xlogy(x.exp(), x.exp()),
    "erf, lgamma": lambda x: torch.erf(x) + torch.lgamma(x.exp()),
    "digamma": lambda x: torch.digamma(x.exp()),
    "i0e": torch.special.i0e,
    "log_ndtr": torch.special.log_ndtr,
    "erfinv": lambda x: torch.erfinv(0.9 * x.tanh()),
    "sinc": torch.sinc,
    "derivative inside": lambda x: torch.func.grad(lambda y: (y**3).sum())(x),
}

LABELS, REALS = (
    torch.tensor([0, 2, 1, 1, 0]),
    torch.randn(5, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64),
)
CHANCES, BITS = REALS.softmax(1), (REALS > 0).double()
SIGNS, SEVERAL = (
    torch.tensor([1.0, -1, 1, 1, -1]).double(),
    torch.tensor([[0, 2, -1, 0, 0, 0], [3, 3, 1, -1, 5, 0], [-1] * 6, [5, 4, 3, 2, 1, 0], [1, -1, 2, -1, 0, 0]]),
)


def ctc(output: Tensor, target: Tensor) -> Tensor:
    """Two labels of three classes in three times, concatenated."""
    chances = output.repeat(1, 2)[:, :9].view(-1, 3, 3).log_softmax(-1).transpose(0, 1)
    return nn.CTCLoss()(chances, target.flatten(), torch.full((len(output),), 3), torch.full((len(output),), 2))


CRITERIA: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor]] = {
    "CrossEntropyLoss": (nn.CrossEntropyLoss(), LABELS),
    "CrossEntropyLoss, smooth": (nn.CrossEntropyLoss(label_smoothing=0.1), LABELS),
    "CrossEntropyLoss, chances": (nn.CrossEntropyLoss(), CHANCES),
    "NLLLoss": (lambda o, t: F.nll_loss(o.log_softmax(1), t), LABELS),
    "MSELoss": (nn.MSELoss(), REALS),
    "L1Loss": (nn.L1Loss(), REALS),
    "SmoothL1Loss": (nn.SmoothL1Loss(), REALS),
    "HuberLoss": (nn.HuberLoss(), REALS),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(pos_weight=torch.full((6,), 2.0).double()), BITS),
    "BCELoss": (lambda o, t: nn.BCELoss()(o.sigmoid(), t), BITS),
    "KLDivLoss": (lambda o, t: F.kl_div(o.log_softmax(1), t, reduction="batchmean"), CHANCES),
    "KLDivLoss, of logarithms": (
        lambda o, t: F.kl_div(o.log_softmax(1), t.log(), log_target=True, reduction="batchmean"),
        CHANCES,
    ),
    "PoissonNLLLoss": (nn.PoissonNLLLoss(full=True), REALS.exp()),
    "GaussianNLLLoss": (lambda o, t: nn.GaussianNLLLoss()(o[:, :3], t[:, :3], o[:, 3:].exp()), REALS),
    "HingeEmbeddingLoss": (lambda o, t: nn.HingeEmbeddingLoss()(o.square(), 2 * t - 1), BITS),
    "MultiMarginLoss": (nn.MultiMarginLoss(), LABELS),
    "MultiMarginLoss, squared": (nn.MultiMarginLoss(p=2, margin=0.7), LABELS),
    "MultiMarginLoss, weighted": (nn.MultiMarginLoss(p=2, weight=torch.arange(1, 7.0).double()), LABELS),
    "MultiLabelMarginLoss": (lambda o, t: nn.MultiLabelMarginLoss()(o.exp(), t), SEVERAL),
    "MultiLabelSoftMarginLoss": (nn.MultiLabelSoftMarginLoss(), BITS),
    "SoftMarginLoss": (lambda o, t: nn.SoftMarginLoss()(o, 2 * t - 1), BITS),
    "MarginRankingLoss": (lambda o, t: nn.MarginRankingLoss(margin=0.5)(o[:, 0].exp(), o[:, 1], t), SIGNS),
    "CosineEmbeddingLoss": (lambda o, t: nn.CosineEmbeddingLoss()(o[:, :3], o[:, 3:], t), SIGNS),
    "TripletMarginLoss": (lambda o, t: nn.TripletMarginLoss()(o[:, :2], o[:, 2:4], o[:, 4:]), SIGNS),
    "TripletMarginWithDistanceLoss": (
        lambda o, t: nn.TripletMarginWithDistanceLoss()(o[:, :2], o[:, 2:4], o[:, 4:]),
        SIGNS,
    ),
    "CTCLoss": (ctc, torch.tensor([[1, 2], [1, 1], [2, 1], [1, 2], [2, 1]])),
}
