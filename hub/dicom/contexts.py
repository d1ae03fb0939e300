"""What the listener accepts: every storage SOP class in every transfer syntax.

Names and UIDs come from the dictionary of pydicom. The acceptor of
an association may offer any number of presentation contexts; only a requestor is
held to 128 (PS3.8 section 9.3.2.2).
"""

import re
from functools import cache

_STORAGE_NAME = re.compile(r"\bStorage\b")
_NOT_COMPOSITE = re.compile(r"Commitment|Directory|Management|Inventory")

DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
"""Deflated Image Frame Compression (PS3.5 section A.4.13), newer than pydicom's dictionary."""

_NEWER_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.7": "LabelMapSegmentationStorage",
    "1.2.840.10008.5.1.4.1.1.66.8": "HeightMapSegmentationStorage",
    "1.2.840.10008.5.1.4.1.1.9.100.1": "WaveformPresentationStateStorage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "WaveformAcquisitionPresentationStateStorage",
}
"""Storage SOP classes of PS3.4 Table B.5-1 that are newer than pydicom's dictionary."""

_STREAMED = ("SMPTE", "JPIP")
"""Live video over IP, and pixels fetched from elsewhere: nothing that a store can keep."""


@cache
def storage_classes() -> dict[str, str]:
    """Return the UIDs of all composite storage SOP classes with their keywords.

    Retired ones included: an ultrasound machine of 1998 still sends them.
    """
    from pydicom._uid_dict import UID_dictionary

    known = dict(_NEWER_CLASSES)
    for uid, (name, kind, _, _, keyword) in UID_dictionary.items():
        if kind == "SOP Class" and _STORAGE_NAME.search(name) and not _NOT_COMPOSITE.search(name):
            known.setdefault(uid, keyword)
    return known


@cache
def transfer_syntaxes() -> tuple[str, ...]:
    """Return the UIDs of all transfer syntaxes that carry a whole data set."""
    from pydicom.uid import AllTransferSyntaxes

    kept = [str(uid) for uid in AllTransferSyntaxes if not uid.name.startswith(_STREAMED)]
    return (*kept, DEFLATED_IMAGE_FRAME)
