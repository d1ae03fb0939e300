"""Fifty thousand damaged recordings over all readers: read or refused by name, quickly and in little memory.

``HUB_BENCH_FILES`` sets how many, ``HUB_BENCH_SEED`` the first. Each file has a number, which
``tests.ecg.mutations.mutated`` makes it from again; whatever goes wrong is printed with it.
"""

import json
import os
import resource
import signal
import time
import warnings
from collections import Counter
from types import FrameType

import pytest

from hub.ecg.read import read_ecg
from hub.errors import HubError
from tests.ecg.mutations import mutated, samples

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

FILES = int(os.environ.get("HUB_BENCH_FILES", "50000"))
FIRST = int(os.environ.get("HUB_BENCH_SEED", "1000000"))
MOST_SECONDS = 1.0
GIVEN_UP_AFTER = 30
MOST_GROWTH_KB = 256 * 1024


class Hangs(BaseException):
    """A file is still being read."""


def give_up(_signal: int, _frame: FrameType | None) -> None:
    raise Hangs


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def attempt(seed: int) -> tuple[str, str, float]:
    """Read one file; return its format, what came of it and the seconds that it took.

    Every other time a library's warnings pass unseen, as they do in service; else they are errors.
    """
    key, files = mutated(seed)
    signal.alarm(GIVEN_UP_AFTER)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if seed // len(samples()) % 2 else "error")
            outcome = f"read:{read_ecg(files).format}"
    except HubError as error:
        outcome = error.code
    except Hangs:
        outcome = "FAULT hangs"
    except Exception as error:
        outcome = f"FAULT {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return key, outcome, time.perf_counter() - began


def test_every_reader() -> None:
    signal.signal(signal.SIGALRM, give_up)
    for key, each in samples().items():  # loads what the readers load
        for files in each:
            try:
                read_ecg(files)
            except HubError:
                assert key
    peak, slowest = peak_kb(), (0.0, 0)
    start_kb, outcomes, faults = peak, Counter[str](), []
    for seed in range(FIRST, FIRST + FILES):
        key, outcome, seconds = attempt(seed)
        if seconds > MOST_SECONDS:  # other work on this machine is not the reader's fault: the better of two
            seconds = min(seconds, attempt(seed)[2])
        slowest = max(slowest, (seconds, seed))
        outcomes[outcome.split(":")[0] if outcome.startswith("read:") else outcome[:40]] += 1
        grown, peak = peak_kb() - start_kb, max(peak, peak_kb())
        if outcome.startswith("FAULT") or seconds > MOST_SECONDS or grown > MOST_GROWTH_KB:
            fault = {"seed": seed, "format": key, "outcome": outcome, "seconds": round(seconds, 2)}
            faults.append(fault | {"grown_mb": grown // 1024})
            print(json.dumps(faults[-1]), flush=True)
            start_kb = max(start_kb, peak - MOST_GROWTH_KB // 2)
    figures = {"files": FILES, "slowest_s": round(slowest[0], 3), "slowest_seed": slowest[1]}
    print(
        json.dumps(
            figures | {"grown_mb": (peak - start_kb) // 1024, "outcomes": dict(outcomes.most_common())}
        )
    )
    assert faults == []
