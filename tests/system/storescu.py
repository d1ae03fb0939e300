"""DCMTK's storescu as the device, with the answer to each object."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from tests.fixtures.peers import require_peer

SENDING = re.compile(r"Sending file: (.+)$")
TRAILING_PADDING = 0xFFFCFFFC
ANSWER = re.compile(r"Received Store Response \((.+)\)")


@dataclass(frozen=True)
class Pushed:
    """What storescu said: the files answered Success, and those answered otherwise."""

    succeeded: frozenset[Path]
    refused: dict[Path, str]
    status: int
    output: str


def push(port: int, files: list[Path], *, calling: str, called: str = "HUB", timeout: int = 120) -> Pushed:
    """Send files on one association; an answer that never came counts as neither."""
    program = require_peer("storescu")
    done = subprocess.run(
        [program, "-v", "-R", "-aet", calling, "-aec", called, "127.0.0.1", str(port), *map(str, files)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    output = done.stdout + done.stderr
    succeeded, refused, current = set(), {}, None
    for line in output.splitlines():
        if sending := SENDING.search(line):
            current = Path(sending[1])
        elif (answer := ANSWER.search(line)) and current is not None:
            if answer[1] == "Success":
                succeeded.add(current)
            else:
                refused[current] = answer[1]
    return Pushed(frozenset(succeeded), refused, done.returncode, output)


def make_study(
    source: Path, folder: Path, n_objects: int, *, patient_id: str, name: str = "", **tags: str
) -> list[Path]:
    """Write copies of one object as a new study with new UIDs; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    files = []
    for number in range(1, n_objects + 1):
        dataset = pydicom.dcmread(source)
        dataset.pop(TRAILING_PADDING, None)  # storescu never sends it
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.PatientID, dataset.InstanceNumber = patient_id, number
        if name:
            dataset.SpecificCharacterSet = "GB18030"
            dataset.PatientName = name
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        file = folder / f"{number:04d}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        files.append(file)
    # storescu encodes what it reads anew; written by DCMTK first, what is sent is what the file holds.
    for file in files:
        subprocess.run([require_peer("dcmconv"), file, file], check=True, capture_output=True)
    return files
