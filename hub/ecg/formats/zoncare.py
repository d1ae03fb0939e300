"""Zoncare ZQECG XML: recognised and refused by name, because it states no amplitude unit.

Readers that exist take its samples for microvolts because nothing says otherwise; drawn on a
millimetre grid that would be a guess.
"""

from hub.ecg.errors import NoLeads, UnitsMissing
from hub.ecg.formats.xml import parse_xml, root_of
from hub.ecg.waveform import Waveform


def matches(data: bytes) -> bool:
    """Say whether the document element is zqecg."""
    return root_of(data)[0].lower() == "zqecg"


def read_zoncare(data: bytes, *, charset_override: str | None = None) -> Waveform:
    """Refuse a ZQECG file, saying why.

    Parameters
    ----------
    data : bytes
        The XML file.
    charset_override : str, optional
        As for other formats.

    Raises
    ------
    UnitsMissing
        Always, when the file holds samples.
    NoLeads
        It holds none.
    RecordingTooLarge, Malformed, FormatFeature
        It is no XML that is read.
    """
    document = parse_xml(data, charset_override=charset_override)
    if not any(element.name.lower() == "data" and element.text for element in document.root.walk()):
        raise NoLeads("the file holds no samples")
    raise UnitsMissing("ZQECG files state no amplitude unit")
