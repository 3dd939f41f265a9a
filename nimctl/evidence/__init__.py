"""What was predicted and what was measured of speeds and memory, kept and read back.

What was measured is in `nimctl.evidence.measured`, a package of its own, as most commands find
nothing measured and need not load it.
"""

from nimctl.evidence.predictions import find_prediction

__all__ = ["find_prediction"]
