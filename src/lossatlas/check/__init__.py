"""Does this installation compute correctly? Quantities with a known answer, measured by the library one after another.

The witness is a small network written out in plain tensor operations, in float64 on the CPU, or a closed form. Each
check is a number with its limit: a deviation, or a count of what should not have changed, that is wanted small.
"""

from lossatlas.check.case import Measured
from lossatlas.check.checks import CHECKS, Check, checked, describe, run_checks

__all__ = ["CHECKS", "Check", "Measured", "checked", "describe", "run_checks"]
