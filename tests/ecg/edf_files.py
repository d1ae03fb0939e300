"""A small writer of EDF, EDF+ and BDF files from the published layout; it knows nothing of the hub."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Channel:
    """One signal: `stored` has a row for each data record."""

    label: str
    stored: np.ndarray
    unit: str = "uV"
    physical: tuple[str, str] = ("-3276.8", "3276.7")
    digital: tuple[str, str] = ("-32768", "32767")
    prefilter: str = ""


@dataclass
class EdfFile:
    channels: list[Channel]
    seconds: str = "1"
    patient: bytes = b"X X X X"
    recording: bytes = b"Startdate X X X X"
    date: str = "02.03.21"
    time: str = "14.15.16"
    reserved: str = ""
    n_records: int | None = None
    tals: list[bytes] = field(default_factory=list)
    bdf: bool = False
    tal_values: int = 60

    def pack(self, values: np.ndarray) -> bytes:
        if not self.bdf:
            return values.astype("<i2").tobytes()
        return b"".join(int(v).to_bytes(3, "little", signed=True) for v in values)

    def build(self) -> bytes:
        size = 3 if self.bdf else 2
        rows = [
            (c.label, "", c.unit, *c.physical, *c.digital, c.prefilter, str(c.stored.shape[1]), "")
            for c in self.channels
        ]
        least, most = (str(-(2 ** (8 * size - 1))), str(2 ** (8 * size - 1) - 1))
        if self.tals:
            name = "BDF Annotations" if self.bdf else "EDF Annotations"
            rows.append((name, "", "", "-1", "1", least, most, "", str(self.tal_values), ""))
        count = len(self.channels[0].stored) if self.n_records is None else self.n_records
        header = b"\xffBIOSEMI" if self.bdf else b"0".ljust(8)
        header += self.patient.ljust(80) + self.recording.ljust(80)
        words = (self.date, 8), (self.time, 8), (str(256 * (len(rows) + 1)), 8), (self.reserved, 44)
        words += (str(count), 8), (self.seconds, 8), (str(len(rows)), 4)
        header += b"".join(text.encode().ljust(width) for text, width in words)
        for place, width in enumerate((16, 80, 8, 8, 8, 8, 8, 80, 8, 32)):
            header += b"".join(row[place].encode("latin-1").ljust(width) for row in rows)
        body = b""
        for record in range(len(self.channels[0].stored)):
            body += b"".join(self.pack(c.stored[record]) for c in self.channels)
            if self.tals:
                body += self.tals[record].ljust(self.tal_values * size, b"\0")
        return header + body


def ramp(n_records: int, per_record: int, seed: int = 1) -> np.ndarray:
    """Return 16-bit samples of shape (n_records, per_record), both extremes among them."""
    values = np.random.default_rng(seed).integers(-2000, 2000, (n_records, per_record))
    values[0, :2] = (-32768, 32767)
    return values
