"""What the demo's township devices push: real files under invented identities."""

import io
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.kit.uids import new_uid

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

FOLDER = Path(__file__).parent
PHANTOM_SIDE = 1024
"""Rows and columns of the synthetic lateral chest."""


@dataclass(frozen=True, slots=True)
class DemoPatient:
    """An invented patient as a device would send it; `birth_date` is YYYYMMDD."""

    local_id: str
    name: str
    sex: str
    birth_date: str


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """A study to push: its files, and what the device calls it."""

    code: str
    modality: str
    description: str
    body_part: str
    files: tuple[str, ...]
    with_phantom_lateral: bool = False


STUDIES = (
    DemoStudy("chest", "CR", "胸部正侧位", "CHEST", ("chest_pa.dcm",), with_phantom_lateral=True),
    DemoStudy("lower_leg", "CR", "左胫腓骨下段正位", "EXTREMITY", ("lower_leg.dcm",)),
    DemoStudy(
        "ct_head", "CT", "头颅CT平扫", "HEAD", tuple(f"ct_head_{number:02d}.dcm" for number in range(1, 11))
    ),
    DemoStudy("ultrasound", "US", "超声检查", "", ("ultrasound_still.dcm", "ultrasound_loop.dcm")),
)


def prepare(
    study: DemoStudy, patient: DemoPatient, taken_at: datetime, accession: str = "", charset: str = "GB18030"
) -> list[bytes]:
    """Return the study's files with a fresh identity each time, pixels untouched.

    Parameters
    ----------
    study : DemoStudy
        One of `STUDIES`.
    patient : DemoPatient
        Written into every file.
    taken_at : datetime
        Local time of the device.
    accession : str
        Empty for an examination without an order.
    charset : str, default 'GB18030'
        Specific Character Set that the device uses.
    """
    from pydicom import dcmread

    datasets: list[Any] = [dcmread(FOLDER / name) for name in study.files]
    if study.with_phantom_lateral:
        datasets.append(synthetic_chest_lateral(datasets[0]))
    study_uid, series_uid = new_uid(), new_uid()
    prepared: list[bytes] = []
    for number, dataset in enumerate(datasets, start=1):
        _identify(dataset, study, patient, taken_at, charset)
        dataset.AccessionNumber = accession
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
        dataset.InstanceNumber = number
        file = io.BytesIO()
        dataset.save_as(file)
        prepared.append(file.getvalue())
    return prepared


def synthetic_chest_lateral(like: "FileDataset") -> "FileDataset":
    """Draw a lateral chest phantom under the description of a real frontal film.

    It is for trying the viewer, shows nobody, and says so in the picture.
    """
    from copy import deepcopy

    from pydicom.uid import ExplicitVRLittleEndian

    phantom: Any = deepcopy(like)
    phantom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    phantom.PixelData = _phantom_pixels().astype("<u2").tobytes()
    phantom["PixelData"].VR = "OW"
    phantom["PixelData"].is_undefined_length = False
    phantom.Rows = phantom.Columns = PHANTOM_SIDE
    phantom.BitsAllocated, phantom.BitsStored, phantom.HighBit, phantom.PixelRepresentation = 16, 12, 11, 0
    phantom.SamplesPerPixel, phantom.PhotometricInterpretation = 1, "MONOCHROME2"
    phantom.WindowCenter, phantom.WindowWidth = 2048, 4096
    phantom.ViewPosition, phantom.SeriesDescription = "LL", "SYNTHETIC PHANTOM"
    phantom.BurnedInAnnotation = "NO"
    # What was true of the film; its Pixel Spacing is zero, and what was drawn has no scale at all.
    of_the_film = (
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "PixelIntensityRelationship",
        "PixelSpacing",
    )
    for keyword in of_the_film:
        if keyword in phantom:
            delattr(phantom, keyword)
    return phantom  # type: ignore[no-any-return]


def _identify(dataset: Any, study: DemoStudy, patient: DemoPatient, taken_at: datetime, charset: str) -> None:
    dataset.SpecificCharacterSet = charset
    dataset.PatientID, dataset.PatientName = patient.local_id, patient.name
    dataset.PatientSex, dataset.PatientBirthDate = patient.sex, patient.birth_date
    dataset.StudyDescription, dataset.BodyPartExamined = study.description, study.body_part
    dataset.Modality = study.modality
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = taken_at.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = taken_at.strftime("%H%M%S")
    dataset.AcquisitionDate, dataset.AcquisitionTime = dataset.StudyDate, dataset.StudyTime


def _phantom_pixels() -> "np.ndarray[Any, Any]":
    """Return soft shapes of a lateral chest, 0 to 4095, bright where dense."""
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    side = PHANTOM_SIDE
    canvas = Image.new("L", (side, side), 6)
    draw = ImageDraw.Draw(canvas)
    draw.ellipse((150, 40, 890, 1100), fill=120)  # trunk
    draw.ellipse((250, 110, 800, 860), fill=48)  # lungs
    draw.ellipse((270, 430, 560, 800), fill=120)  # heart
    draw.pieslice((180, 700, 860, 1300), 180, 360, fill=165)  # diaphragm
    for vertebra in range(11):
        top = 90 + vertebra * 84
        draw.rounded_rectangle((720, top, 800, top + 66), 14, fill=175)
    draw.line((262, 230, 232, 720), fill=150, width=16)  # sternum
    soft = canvas.filter(ImageFilter.GaussianBlur(7))
    ImageDraw.Draw(soft).text((300, 960), "SYNTHETIC PHANTOM", fill=255, font=ImageFont.load_default(40))
    grain = np.random.default_rng(20260101).normal(0, 18, (side, side))
    return np.clip(np.asarray(soft, dtype=np.float64) * 16 + grain, 0, 4095).astype(np.uint16)
