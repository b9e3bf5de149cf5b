"""Are the rows of a comparison alike in everything else?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def unmatched(runs: pd.DataFrame, factor: str, others: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Those of `others` whose values are not shared out alike between the levels of `factor`.

    Each comes with its table of counts, `(level of factor, value)`. A difference between two levels of `factor` may
    come from any of these as well.
    """
    tables = {other: pd.crosstab(runs[factor], runs[other]) for other in others}
    return {other: counts for other, counts in tables.items() if not _same_shares(counts.to_numpy())}


def _same_shares(counts: np.ndarray) -> bool:
    # Whole numbers, so exact: a/m == b/n is a n == b m.
    totals = counts.sum(axis=1)
    return not len(counts) or bool((counts * totals[0] == counts[0] * totals[:, None]).all())
