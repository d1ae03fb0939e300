"""The numbers that boundaries are found with, and where each comes from.

"Odd half" means the odd-numbered LUDB records at hand: the only ones that numbers were chosen on. The
even-numbered ones are for reporting. Distances are in milliseconds, shares have no unit.
"""

QRS_SLOPE_MS = 16.0
QRS_SHARE = 0.1
QRS_HOLD_MS = 6.0
"""In a single lead or beat QRS lasts while the rise over twice this time exceeds this share of the steepest,
and is over when it has been less for so long (odd half, flat optimum)."""

QRS_RISE_MS = 12.0
QRS_ON_RISE = 0.0245
QRS_OFF_RISE = 0.0408
"""Over all leads the limit is this times the root of the steepest rise over twice the time (root mean
square of the leads, mV): readers look at a fixed gain, so it grows less than the complex does. A share of
the largest made wide, slow complexes too wide and tall ones too narrow (odd half, flat from the 0.3rd to
the 0.7th power)."""

QRS_CALM_QUANTILE = 0.25
QRS_CALM = 1.5
"""To the limit comes what the quiet quarter of the beat has, this many times (odd half, flat 1 to 2)."""

QRS_QUIET_MS = 10.0
"""So long must all leads be quiet before QRS is over: a notch in a branch block is shorter (odd half, the
same from 8 to 24)."""

QRS_STEP_MS = 10.0
QRS_STEP_CALM = 5.0
QRS_STEP_LEAST = 0.00217
"""Steps from sample to sample (root mean square of the leads, mV a millisecond, averaged over this time)
belong to QRS when they are this many times those of the quiet quarter, at least the last (odd half: the
beginning has SD 3.4 ms by them alone and 3.9 by the others)."""

QRS_ROOM_MS = 30.0
"""How far the boundaries of a single beat may lie from those of the median."""

QRS_AWAY_MV = 0.03
QRS_AWAY_SHARE = 0.02
QRS_BACK_MV = 0.03
QRS_BACK_SHARE = 0.01
"""QRS begins where the leads together are so far from the level before it, or this share of the largest
deflection, and ends where they are so near the line through the ST segments; averaged with the extent by
slope (odd half: beginning SD 3.9 ms, by slope alone 4.2; end 5.7, by slope alone 6.2)."""

QRS_ALL_ON_BIAS_MS = -10.8
QRS_ALL_OFF_BIAS_MS = 6.5
QRS_ON_BIAS_MS = -10.5
QRS_OFF_BIAS_MS = 6.0
"""Readers mark the first and last departure from the line; the threshold is met inside, over all leads and
in a single one (odd half)."""

T_SMOOTH_MS = 8.0
T_OFF_SHARE = 0.25
T_ON_SHARE = 0.25
T_COMMON_SHARE = 0.3
T_COMMON_MOST = 0.4
"""T begins and ends where its slope has fallen to this share of its steepest (odd half); over all leads to
the last one where it never falls to the one before."""

T_LEAST_MV = 0.05
"""Leads count by the root of their T amplitude, the smallest as this."""

T_EXPECTED_SD_MS = 150.0
T_EXPECTED_QTC_MS = 410.0
"""T is preferred near the usual QT at this rate (Fridericia), with this spread: wide enough for a
long QT, enough against a U wave or the next P where T is flat (odd half, flat between 80 and 200)."""

T_LAST_SHARE = 0.75
"""The last fall that is this steep, compared with the steepest, is the end of T (odd half)."""

T_NEXT_MS = 180.0
"""T is over this long before the next beat, at the earliest tenth of the beats (odd half)."""

T_QT_MOST = 620.0
"""Longest QT that is looked for at 60 beats a minute; it grows with the root of RR."""

T_PEAK_MS = (160.0, 40.0)
"""The peak lies at most so long before and after the steepest fall of all leads (odd half)."""

T_APART_MS = 100.0
"""A lead whose T ends further from the common end than this gets the common end (odd half)."""

T_RISE_MS = 150.0
"""The steepest rise is looked for this long before the peak (odd half)."""

P_SMOOTH_MS = 8.0
P_SHARE = 0.3
"""P begins and ends where its slope has fallen to this share of its steepest (odd half)."""

P_BUMP_MS = 60.0
P_NEAR_MS = 50.0
P_REACH_MS = 100.0
"""P stands out of its surroundings this far away; leads peak this close together; steepest slopes lie
this close to the peak (odd half, flat)."""

P_GAP_MS = 8.0
"""P is over this long before QRS begins."""

P_EARLIEST = 0.15
P_LATEST = 0.9
P_ON_BIAS_MS = -4.5
P_OFF_BIAS_MS = 1.0
P_LEAD_OFF_BIAS_MS = -6.0
"""P over all leads goes from the early to the late quantile of the leads, and readers mark its first
and last rise out of the line (odd half)."""

P_COMMON = 0.45
"""Least correlation of the stretch before QRS between the beats, for a P wave (odd half; sinus
rhythm lies above 0.6, fibrillation below 0.3)."""

P_ALIKE = 0.3
P_ALIKE_OTHERS = 0.7
P_ALIKE_BETWEEN = 0.7
P_SIZE = (0.6, 1.7)
P_APART_MS = 250.0
P_ROW_LEAST = 5
P_SHIFT_MS = 60.0
T_SHIFT_MS = 40.0
T_ALIKE = 0.8
"""A beat's own P and T are laid on the median's this far at most, where they are so much alike."""

P_SHORTEST_MS = 45.0
"""What is shorter is the remainder of an atrial pacing spike."""

WAVE_LEAST_HZ = 4.0
WAVE_SHARE = 0.45
"""An atrial wave stands out with this share of what is left without the beats (odd half: sinus
rhythm stays below 0.39)."""

AF_LIKELY = 0.5
AF_LEAST_BEATS = 4
AF_P_WEIGHT = 8.0
AF_WAVE_WEIGHT = 12.0
AF_WAVE_AT = 0.5
AF_RR_AT = 0.1
AF_REGULAR_WEIGHT = 25.0
AF_IRREGULAR_WEIGHT = 12.0
AF_GROUP_LEAST = 3
AF_GROUP_SHARE = 0.06
AF_PACED = -3.0
AF_FREE_P = -4.0
"""Weights set by hand on the odd half so that each sign alone leaves the matter open. Intervals are of two
lengths when so many at least are in each group, and no more of the spread is within them (in fibrillation of
the odd half 0.11 and more; evenly spread lengths have 0.25)."""
