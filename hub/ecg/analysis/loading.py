"""Loading of scipy, which is left until it is wanted, by one thread at a time."""

import threading
from importlib import import_module

_PARTS = ("scipy.ndimage", "scipy.signal", "scipy.interpolate")
_LOADING = threading.Lock()


def load() -> None:
    """Load the parts of scipy that the analysis uses.

    Its packages import each other. Two threads that begin with different ones have met a package
    that was half loaded by the other, and the first ECGs after a start went without their analysis.
    """
    with _LOADING:
        for name in _PARTS:
            import_module(name)
