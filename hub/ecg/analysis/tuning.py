"""The numbers that boundaries are found with, and where each comes from.

"Odd half" means the odd-numbered LUDB records at hand: the only ones that numbers were chosen on. The
even-numbered ones are for reporting. Distances are in milliseconds, shares have no unit.
"""

QRS_SLOPE_MS = 6.0
"""Slope is the rise over twice this: shorter follows noise, longer smears (odd half, flat optimum)."""

QRS_SHARE = 0.08
"""QRS lasts while the slope over all leads exceeds this share of its largest (odd half)."""

QRS_HOLD_MS = 10.0
"""So long must the slope stay below before QRS counts as over (odd half)."""

QRS_ON_BIAS_MS = -9.0
QRS_OFF_BIAS_MS = 8.0
"""Readers mark the first and last departure from the line; the threshold is met inside (odd half)."""

T_SMOOTH_MS = 6.0
T_OFF_SHARE = 0.25
T_ON_SHARE = 0.25
"""T begins and ends where its slope has fallen to this share of its steepest (odd half)."""

P_SMOOTH_MS = 6.0
P_SHARE = 0.2
P_COMMON = 0.45
"""Least correlation of the stretch before QRS between the beats, for a P wave (odd half; sinus
rhythm lies above 0.6, fibrillation below 0.3)."""

P_LEAST_MV = 0.03
