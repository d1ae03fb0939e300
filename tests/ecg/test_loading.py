"""scipy is loaded by one thread at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hub.ecg.analysis import loading


def test_two_threads_never_load_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, loaded = 0, 0, []
    together = threading.Barrier(4)

    def slowly(name: str) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.002)
        inside -= 1
        loaded.append(name)

    def arrive() -> None:
        together.wait()
        loading.load()

    monkeypatch.setattr(loading, "import_module", slowly)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(arrive) for _ in range(4)]:
            done.result()
    assert most == 1
    assert set(loaded) == {"scipy.ndimage", "scipy.signal", "scipy.interpolate"}
