"""Lead names: one spelling for what devices write in many ways."""

import re

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The 12 leads in the order in which they are read and printed."""

_OTHERS = ("V7", "V8", "V9", "V2R", "V3R", "V4R", "V5R", "V6R", "V7R", "X", "Y", "Z", "-aVR")
_BY_FOLDED = {name.casefold(): name for name in (*STANDARD_LEADS, *_OTHERS)} | {
    "vx": "X",
    "vy": "Y",
    "vz": "Z",
}
_DECORATION = re.compile(r"^(?:mdc[_ ]ecg[_ ]lead[_ ]|lead[ _:]*|ecg[ _:]+(?:lead[ _:]*)?)", re.IGNORECASE)
_REMARK = re.compile(r"\s*\(.*\)\s*$")

_BY_CODE = {
    1: "I",
    2: "II",
    **{2 + n: f"V{n}" for n in range(1, 8)},
    **{8 + n: f"V{n}R" for n in range(2, 8)},
    16: "X",
    17: "Y",
    18: "Z",
    61: "III",
    62: "aVR",
    63: "aVL",
    64: "aVF",
    65: "-aVR",
    66: "V8",
    67: "V9",
}


def lead_from_text(text: str) -> str | None:
    """Return the standard name of a lead written as text, or None if it is not one.

    ``"Lead II (Einthoven)"``, ``"MDC_ECG_LEAD_AVR"``, ``"avr"`` and ``"ECG V1"`` are understood.
    """
    bare = _REMARK.sub("", _DECORATION.sub("", text.strip())).strip()
    return _BY_FOLDED.get(bare.casefold())


def lead_from_code(number: int) -> str | None:
    """Return the lead of one number of the table shared by SCP-ECG, MFER and DICOM CID 3001.

    Source: SCP-ECG (EN 1064) section 3 lead identification; DICOM PS3.16 CID 3001 writes the
    same numbers as MDC ``2:n`` and, in older files, as SCPECG ``5.6.3-9-n``.
    """
    return _BY_CODE.get(number)


def unique_names(names: list[str]) -> tuple[tuple[str, ...], bool]:
    """Make channel names unique by numbering repeats; say whether any was changed."""
    seen: dict[str, int] = {}
    taken = set(names)
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique = name
        while seen[name] > 1 and unique in taken:
            unique = f"{name}#{seen[name]}"
            if unique not in taken:
                break
            seen[name] += 1
        taken.add(unique)
        result.append(unique)
    return tuple(result), result != names
