"""How right and how fast the ECG engine is, beside other programs in the same run.

Two JSON lines: the accuracy tables on the even half of the LUDB records of ``HUB_TEST_DATA`` (numbers were
chosen on the odd half) and on MIT-BIH record 100; and the processor time of one 12-lead recording of ten
seconds, beside NeuroKit2's detection and delineation of its lead II. Figures are printed, never judged.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub.ecg.analysis.measure import measure
from hub.ecg.read import read_ecg
from hub.ecg.scoring import rivals
from hub.ecg.scoring.tables import score

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("HUB_TEST_DATA"), reason="HUB_TEST_DATA is not set"),
]

RECORDS = 30


def folder(name: str) -> Path:
    return Path(os.environ["HUB_TEST_DATA"]) / "ecg" / name


def test_accuracy() -> None:
    for name, half in (("wfdb_ludb", "even"), ("wfdb_mitdb", "all")):
        print(json.dumps({"bench": "ecg accuracy", "data": name, **score(folder(name), half)}))


def milliseconds(work: Callable[[Any], object], given: list[Any]) -> dict[str, float]:
    work(given[0])
    took = []
    for each in given:
        before = time.process_time()
        work(each)
        took.append((time.process_time() - before) * 1000)
    return {"median": round(float(np.median(took)), 1), "p99": round(float(np.percentile(took, 99)), 1)}


def test_time() -> None:
    headers = sorted(folder("wfdb_ludb").glob("*.hea"))[:RECORDS]
    files = [{path.name: path.read_bytes() for path in (head, head.with_suffix(".dat"))} for head in headers]
    waves = [read_ecg(each) for each in files]
    leads = [wave.samples_mv[:, wave.leads.index("II")] for wave in waves]
    ours = milliseconds(measure, waves)
    figures = {
        "bench": "ecg time",
        "records": len(waves),
        "read_ms": milliseconds(read_ecg, files),
        "measure_ms": ours,
    }
    if "neurokit2" not in rivals.absent():
        theirs = milliseconds(lambda lead: rivals.neurokit_boundaries(lead, 500.0), leads)
        figures["neurokit2_lead_ii_ms"] = theirs
        figures["neurokit2_ratio"] = round(theirs["median"] / ours["median"], 2)
    print(json.dumps(figures))
