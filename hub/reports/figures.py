"""The pictures of a report: chosen images, or the ECG at true scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.catalogue.places import Place, open_place
from hub.config import Settings
from hub.dicom.render import Window, render_frame
from hub.ecg.measure import measure_heart_rate
from hub.ecg.sources import EcgSource, load
from hub.ecg.svg import draw_svg
from hub.ecg.waveform import Waveform
from hub.errors import Conflict, HubError, StoreUnavailable
from hub.reports.document import Figure
from hub.web import i18n
from hub.worklist.ecg_values import InForce
from storage.base import ObjectStore
from storage.errors import StorageError

FIGURE_PIXELS = 1400
"""Longer side of a printed picture; at 85 mm width about 400 dots per inch."""

PRINTED = ("hr_bpm", "p_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qrs_axis_deg")
"""Values that stand on a printed ECG, in this order."""


@dataclass(frozen=True)
class ChosenImage:
    """A key image as plain values, with the place of its object."""

    sop_uid: str
    place: Place
    frame: int
    window: tuple[float, float] | None


class FigureMissing(Conflict):
    """A picture chosen for the report cannot be drawn; drop it or ask for the object again."""


def image_figures(
    store: ObjectStore, chosen: Sequence[ChosenImage], settings: Settings
) -> tuple[Figure, ...]:
    """Draw the chosen images in the window in which they were chosen."""
    t = i18n.translator(settings.language)
    figures = []
    for number, image in enumerate(chosen, 1):
        window = Window(*image.window) if image.window else None
        try:
            with open_place(store, image.place) as data:
                picture = render_frame(
                    data,
                    image.frame - 1,
                    window=window,
                    size=(FIGURE_PIXELS, FIGURE_PIXELS),
                    image_format="jpeg",
                )
        except StorageError as error:
            raise StoreUnavailable from error
        except HubError as error:
            raise FigureMissing(sop_uid=image.sop_uid) from error
        figures.append(Figure(picture, "image", t("document.figure.image", n=number)))
    return tuple(figures)


def ecg_figures(
    store: ObjectStore,
    sources: Sequence[EcgSource],
    settings: Settings,
    values: Mapping[str, Mapping[str, InForce]],
) -> tuple[Figure, ...]:
    """Draw each ECG of the exam on true-scale paper, with the values in force where it was analysed.

    Parameters
    ----------
    values : mapping of str to mapping of str to InForce
        By source, then by name.
    """
    t = i18n.translator(settings.language)
    figures = []
    for source in sources:
        waveform = load(store, source)
        measured = values.get(source.id)
        lines = value_lines(measured, t) if measured else (rate_line(waveform, t),)
        svg = draw_svg(
            waveform, header_lines=lines, footer=t("document.figure.ecg_footer"), when_cut=t("ecg.cut")
        )
        figures.append(Figure(svg.encode(), "ecg", t("document.figure.ecg")))
    return tuple(figures)


def value_lines(values: Mapping[str, InForce], t: i18n.Translate) -> tuple[str, ...]:
    """Return the values in force: what a machine measured, and apart from it what the reader put right."""
    lines = []
    for key, edited in (("document.ecg.measured", False), ("document.ecg.corrected", True)):
        shown = [
            t(f"document.ecg.value.{name}", value=round(found.value))
            for name in PRINTED
            if (found := values[name]).value is not None and found.edited is edited
        ]
        if shown:
            lines.append(t(key, values=" · ".join(shown)))
    return tuple(lines) or (t("document.ecg.nothing"),)


def rate_line(waveform: Waveform, t: i18n.Translate) -> str:
    """Return the heart rate of an ECG that was not analysed, as a line that says a machine measured it."""
    rate = measure_heart_rate(waveform)
    if rate.bpm is None:
        return t("document.ecg.no_rate", reason=t(f"document.ecg.reason.{rate.reason}"))
    return t("document.ecg.rate", bpm=round(rate.bpm))
