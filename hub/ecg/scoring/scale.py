"""Annotated records in their true scale."""

from dataclasses import replace

import numpy as np

from hub.ecg.waveform import Waveform

_MICROVOLT_MV = 0.001
_ROUNDING_UNITS = 3.0


def true_scale(waveform: Waveform) -> Waveform:
    """Return a record with its stored integers as microvolts where its header's gains cannot be right.

    The gains in LUDB's headers stretch every lead to exactly 1 mV, so that II is not I + III, while
    the stored integers obey that law to the rounding; as microvolts they have the usual size. Any
    other record comes back as it is.
    """
    columns = [waveform.leads.index(name) for name in ("I", "II", "III") if name in waveform.leads]
    steps = [waveform.lsb_mv[i] for i in columns]
    if len(columns) < 3 or None in steps or len(set(steps)) == 1:  # noqa: PLR2004 - I, II and III
        return waveform
    units = waveform.samples_mv / np.array([step or 1.0 for step in waveform.lsb_mv])
    one, two, three = (units[:, i] - np.nanmedian(units[:, i]) for i in columns)
    gap = two - one - three
    if float(np.nanmax(np.abs(gap - np.nanmedian(gap)))) > _ROUNDING_UNITS:
        return waveform
    steps_mv = (_MICROVOLT_MV,) * len(waveform.leads)
    return replace(waveform, samples_mv=np.round(units) * _MICROVOLT_MV, lsb_mv=steps_mv)
