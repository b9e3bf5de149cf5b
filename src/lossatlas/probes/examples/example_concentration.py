"""How much of the loss and of its curvature do the largest examples hold?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossatlas.loss.loss import Loss
from lossatlas.loss.single_examples import ExampleLosses, LinkedExamples, example_losses
from lossatlas.numbers import MISSING, loss_text, percent_text, with_error
from lossatlas.numerics.concentration import Concentration, concentration
from lossatlas.operators.example_traces import example_traces
from lossatlas.operators.matrices import CURVATURE
from lossatlas.probes.call import with_keywords
from lossatlas.probes.derivatives import checked, doubted
from lossatlas.probes.other_models import warn_of_borrowed_buffers
from lossatlas.probes.probe import Column, Cost, Probe, Settings, Subject, Told, at_least
from lossatlas.probes.sampling import Losses, by_split, join_splits
from lossatlas.probes.telling import table
from lossatlas.random_streams import check_generator
from lossatlas.results.variables import UNITS
from lossatlas.splits import splits

Variable = tuple[str | tuple[()], Any, dict[str, str]]  # dimension, values, attributes

LARGEST = 10  # examples whose share is a number of its own, and whose places in the data are kept
GRADIENTS = 9  # products that gradients of single examples of two classes take the time of, and the check (2x100)

VARIABLES = {
    "rank": {"long_name": "number of largest examples", "units": "1"},
    "loss_share": {"long_name": "share of the loss in the largest examples", "units": "1"},
    "trace_share": {"long_name": "share of the trace in the largest examples", "units": "1"},
    "trace_share_error": {"long_name": "standard error of the share of the trace", "units": "1"},
    "largest_share": {"long_name": "share of the loss in the largest example", "units": "1"},
    "ten_largest_share": {"long_name": "share of the loss in the ten largest examples", "units": "1"},
    "effective_examples": {"long_name": "equal examples that would be as concentrated, (Σℓ)² / Σℓ²", "units": "1"},
    "gap_share": {"long_name": "share of the gap to the first loss in its ten largest examples", "units": "1"},
    "trace": {"long_name": "trace of the Gauss-Newton matrix", "units": CURVATURE},
    "trace_error": {"long_name": "standard error of the trace", "units": CURVATURE},
    "effective_trace_examples": {"long_name": "equal examples that would be as concentrated, by trace", "units": "1"},
}

KNOWN = {**UNITS, **VARIABLES}
NOTHING = torch.zeros(0, dtype=torch.float64)
NO_EXAMPLES = ExampleLosses(NOTHING.long(), NOTHING, NOTHING)


@dataclass(frozen=True)
class ExampleConcentrationSettings(Settings):
    """What the largest examples hold of the loss and of the trace."""

    ranks: Annotated[int, at_least(LARGEST)] = 50
    """Largest examples whose shares are kept."""
    vectors: Annotated[int, at_least(4)] = 30
    """Random vectors of the trace, where an example has more than ten outputs; with fewer it is exact."""
    check: bool = True
    """Whether the gradient is checked against differences beside the point."""


@with_keywords
def example_concentration(
    losses: Losses,
    theta: Tensor,
    *,
    generator: torch.Generator,
    ranks: int = 50,
    vectors: int = 30,
    dtype: torch.dtype | None = None,
    check: bool = True,
) -> xr.Dataset:
    """What the largest examples hold of the loss, of the gap between losses, and of the trace of the curvature.

    A loss is Σ wᵢ ℓᵢ over examples, and the trace of its Gauss-Newton matrix Σ wᵢ tr JᵢᵀBᵢJᵢ, with J the derivative of
    the output by θ and B the second derivative of the criterion in the output. Where the criterion is convex no example
    has a negative trace, so that there are shares; the Hessian's trace has none. The two differ by the curvature of the
    network itself, which adds nothing to the trace of a ReLU network, whose outputs are linear in every single weight.
    A penalty is no example's, and left out.

    Costs two evaluations, and a gradient of single examples for each output but one up to ten outputs, with more
    about half of `vectors` products. Whether examples see each other is tried on one batch.

    Args:
        losses: one `Loss`, or a mapping of them by split.
        theta: θ `(P,)`.
        generator: of the vectors, on the CPU.
        ranks: how many of the largest examples, 10 at least.
        vectors: of random signs, 4 at least, for traces of examples with more than ten outputs (Hutchinson). One half
            says which are the largest and the other how large these are, so that their shares are a little low.
        dtype: precision of the derivatives; None is the loss's own.
        check: whether the gradient is checked against differences beside θ (`derivative_check`).

    Returns:
        loss_share, and trace_share with trace_share_error, which is 0 where it is exact: what the 1, 2, ... largest
        examples hold, `(rank)`. Of the loss its value, the number of examples, largest_share, ten_largest_share and
        effective_examples, (Σwℓ)² / Σ(wℓ)². gap_share is what ten examples hold of Σ wᵢ (ℓᵢ − L₁), with L₁ the first
        loss: above 1 where this loss is the smaller one without them, NaN for the first and where this one is no
        larger. Of the trace its value, trace_error and effective_trace_examples. examples_by_loss and
        examples_by_trace `(largest)` say where the ten largest stand in the data, from 0 up; −1 is none.
        derivative_check comes with its error.

        Shares are NaN where there are no losses of single examples, since these see each other or cannot be told apart
        (`linked` then says why, and so does a warning), and where an ℓ or a trace is negative.

    Raises:
        ValueError: too few ranks or vectors.
    """
    check_generator(generator)
    if ranks < LARGEST or vectors < 4:
        raise ValueError(f"ranks is {ranks} and vectors is {vectors}: wanted {LARGEST} and 4 at least")
    warn_of_borrowed_buffers(losses, {"θ": theta})
    seed = int(torch.randint(2**62, (), generator=generator))  # one for all splits: none depends on the others
    parts: dict[str, xr.Dataset] = {}
    linked: dict[str, str] = {}
    first = None
    for split, loss in by_split(losses).items():
        loss.layout.check(theta, single=True)
        precise = loss if dtype in (None, loss.dtype) else loss.to(dtype)
        known, traces, why = _examples(precise, theta, vectors, torch.Generator().manual_seed(seed))
        linked |= {split: why} if why else {}
        first = known if first is None else first
        scalars = {
            "loss": _value(precise, theta),
            "gap_share": _gap_share(known, first),
            **checked(precise, theta, split, matrix="gauss-newton", check=check),
        }
        parts[split] = xr.Dataset(
            {
                **_of_loss(known, ranks),
                **_of_trace(traces, known, ranks),
                **{name: ((), value, KNOWN[name]) for name, value in scalars.items()},
            },
            {"rank": ("rank", np.arange(1, ranks + 1), VARIABLES["rank"])},
            {"probe": "example_concentration", "evaluations": 2, **loss.attrs},
        )
    result = join_splits(parts)
    if not linked:
        return result
    reasons = "; ".join(f"{split} loss: {why}" if split else why for split, why in linked.items())
    warnings.warn(f"there are no losses of single examples, and so no shares: {reasons}", stacklevel=3)
    return result.assign_attrs(linked=reasons)


def _examples(loss: Loss, theta: Tensor, vectors: int, generator: torch.Generator) -> tuple[ExampleLosses, Tensor, str]:
    """Losses and traces of single examples, or why there are none."""
    try:
        known = example_losses(loss, theta)
        return known, example_traces(loss, theta, vectors=vectors, generator=generator), ""
    except LinkedExamples as error:
        return NO_EXAMPLES, NOTHING[None], str(error)


@torch.no_grad()
def _value(loss: Loss, theta: Tensor) -> float:
    """The loss on the data, without a penalty."""
    return sum(float(share(output)) for output, share in loss.batch_outputs(theta.to(loss.theta)))


def _of_loss(known: ExampleLosses, ranks: int) -> dict[str, Variable]:
    found = concentration((known.weights * known.losses)[None], ranks)
    scalars = {
        "largest_share": float(found.shares[0]),
        "ten_largest_share": float(found.shares[LARGEST - 1]),
        "effective_examples": found.effective,
    }
    return {
        "loss_share": ("rank", found.shares.numpy(), VARIABLES["loss_share"]),
        "examples_by_loss": ("largest", _places(found, known), {}),
        "examples": ((), int((known.weights > 0).sum()), {}),
        **{name: ((), value, VARIABLES[name]) for name, value in scalars.items()},
    }


def _of_trace(traces: Tensor, known: ExampleLosses, ranks: int) -> dict[str, Variable]:
    """`traces` `(m, n)` are estimates of every example's, or the exact ones `(1, n)`."""
    found = concentration(traces, ranks)
    totals = traces.sum(1) if traces.shape[1] else torch.full((1,), torch.nan)
    scalars = {
        "trace": float(totals.mean()),
        "trace_error": float(totals.std() / len(totals) ** 0.5) if len(totals) > 1 else 0.0,
        "effective_trace_examples": found.effective,
    }
    return {
        "trace_share": ("rank", found.shares.numpy(), VARIABLES["trace_share"]),
        "trace_share_error": ("rank", found.errors.numpy(), VARIABLES["trace_share_error"]),
        "examples_by_trace": ("largest", _places(found, known), {}),
        **{name: ((), value, VARIABLES[name]) for name, value in scalars.items()},
    }


def _places(found: Concentration, known: ExampleLosses) -> np.ndarray:
    """Where the ten largest examples stand in the data."""
    return np.array([int(known.numbers[index]) if index >= 0 else -1 for index in found.order[:LARGEST].tolist()])


def _gap_share(known: ExampleLosses, first: ExampleLosses) -> float:
    level = (first.weights * first.losses).sum() / first.weights.sum()
    above = known.weights * (known.losses - level)  # (n,), they add up to the gap
    if known is first or not float(above.sum()) > 0:
        return np.nan
    return float(above.topk(min(LARGEST, len(above))).values.sum() / above.sum())


def _call(subject: Subject, settings: ExampleConcentrationSettings, generator: torch.Generator) -> xr.Dataset:
    return example_concentration(
        subject.losses, subject.theta, generator=generator, dtype=subject.sampled_dtype, **vars(settings)
    )


def _tell(result: xr.Dataset, _: str) -> Told:
    if "linked" in result.attrs:
        words = f"There are no losses of single examples, and so no shares: {result.attrs['linked']}."
        return doubted(Told(words, (words,)), result)
    lines, said = [], []
    for split, part in splits(result).items():
        ten, one = percent_text(float(part.ten_largest_share)), percent_text(float(part.largest_share))
        equal, trace = loss_text(float(part.effective_examples)), _ten_of_trace(part)
        gap = MISSING if np.isnan(part.gap_share) else percent_text(float(part.gap_share))
        lines.append((split, str(int(part.examples)), one, ten, equal, gap, trace))
        said.append(
            f"The ten largest of {int(part.examples):,} {f'{split} ' if split else ''}examples hold {ten} of the loss, "
            f"the largest alone {one}; another ten hold {trace} of the trace."
        )
    caption = (
        "What the largest examples hold of the loss, of what it is above the first one (the gap), and of the trace of "
        "the Gauss-Newton matrix. So many equal examples would be as concentrated."
    )
    headings = ("Data", "Examples", "Largest", "Ten largest", "Equal examples", "Ten of the gap", "Ten of the trace")
    return doubted(Told(said[0], tuple(said), (table(caption, headings, lines),)), result)


def _ten_of_trace(part: xr.Dataset) -> str:
    """The share, with its standard error where it has one."""
    share, error = _ten(part.trace_share), _ten(part.trace_share_error)
    return f"{with_error(100 * share, 100 * error)} %" if error > 0 else percent_text(share)


def _ten(shares: xr.DataArray) -> float:
    return float(shares.sel(rank=LARGEST))


PROBE = Probe(
    example_concentration,
    ExampleConcentrationSettings,
    of="model",
    title="what the largest examples hold",
    meaning=(
        "How much of the loss, of the gap between test and training loss, and of the trace of the Gauss-Newton matrix "
        "is in the examples with the largest parts. Where ten examples hold half of a number, it speaks of these ten."
    ),
    misleads=(
        "The largest examples are those of this network and these data: another seed may have others. The trace is the "
        "Gauss-Newton matrix's, which for networks without ReLU is not the Hessian's."
    ),
    variables=VARIABLES,
    cost=lambda subject, settings: Cost(products=GRADIENTS),
    tell=_tell,
    columns={
        "loss_share": Column("Share of the loss in ten examples", lambda part: float(part.ten_largest_share)),
        "largest_share": Column("Share of the loss in one example", lambda part: float(part.largest_share)),
        "trace_share": Column("Share of the trace in ten examples", lambda part: _ten(part.trace_share)),
        "test_loss_share": Column(
            "Share of the test loss in ten examples", lambda part: float(part.ten_largest_share), split="test"
        ),
        "test_largest_share": Column(
            "Share of the test loss in one example", lambda part: float(part.largest_share), split="test"
        ),
        "gap_share": Column("Share of the gap in ten examples", lambda part: float(part.gap_share), split="test"),
    },
    call=_call,
    standard=True,
)
