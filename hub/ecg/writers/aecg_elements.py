"""The few kinds of element that an aECG is made of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

ACT = ("2.16.840.1.113883.5.4", "ActCode")
MDC = ("2.16.840.1.113883.6.24", "MDC")
CPT = ("2.16.840.1.113883.6.12", "CPT-4")
LOINC = ("2.16.840.1.113883.6.1", "LOINC")
GENDER = ("2.16.840.1.113883.5.1", "AdministrativeGender")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (2.2) does not allow even escaped."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How samples of one series become times: absolute when the start is known."""

    started_at: datetime | None
    rate_hz: float

    def boundary(self, low: int | None, high: int | None) -> str:
        """Return a boundary from one sample to another; either may be unknown."""
        edges = (("low", low), ("high", high))
        if self.started_at is None:
            inner = [
                tag(name, pq(sample * 1000 / self.rate_hz, "ms"))
                for name, sample in edges
                if sample is not None
            ]
            value = tag("value", {"xsi:type": "IVL_PQ"}, *inner)
            return tag("boundary", {}, code("TIME_RELATIVE", *ACT), value)
        inner = [
            tag(name, {"value": ts(self.started_at + timedelta(seconds=sample / self.rate_hz))})
            for name, sample in edges
            if sample is not None
        ]
        return tag("boundary", {}, code("TIME_ABSOLUTE", *ACT), tag("value", {"xsi:type": "IVL_TS"}, *inner))


def tag(name: str, attributes: Mapping[str, str] | None = None, *inner: str, text: str = "") -> str:
    """Return one element; `inner` is XML already, `text` is not."""
    facts = "".join(f" {key}={quoteattr(_clean(value))}" for key, value in (attributes or {}).items())
    body = "".join(inner) + escape(_clean(text))
    return f"<{name}{facts}>{body}</{name}>" if body else f"<{name}{facts}/>"


def code(value: str, system: str, system_name: str) -> str:
    """Return a code element."""
    return tag("code", coded(value, system, system_name))


def coded(value: str, system: str, system_name: str) -> dict[str, str]:
    """Return the attributes of a coded value."""
    return {"code": value, "codeSystem": system, "codeSystemName": system_name}


def pq(value: float, unit: str) -> dict[str, str]:
    """Return the attributes of a physical quantity, without the dust of binary fractions."""
    return {"value": f"{value:.15g}", "unit": unit}


def ts(moment: datetime) -> str:
    """Return a point in time as HL7 TS, to the microsecond where it has them, with its zone if it has one."""
    fraction = f"{moment.microsecond:06d}"
    fraction = fraction[:3] if fraction.endswith("000") else fraction
    zone = f"{moment:%z}"[:5]
    return f"{moment.year:04d}{moment:%m%d%H%M%S}.{fraction}{zone}"


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)
