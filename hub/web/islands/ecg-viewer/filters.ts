/** Display filters without phase shift: each runs forwards and backwards, so that no wave moves in time. */

export interface FilterChoice {
  highPassHz: number;
  lowPassHz: number;
  notchHz: number;
}

/** Zero stands for off. */
export const OFF: FilterChoice = { highPassHz: 0, lowPassHz: 0, notchHz: 0 };
export const HIGH_PASSES = [0, 0.05, 0.5] as const;
export const LOW_PASSES = [0, 150, 100, 40] as const;
export const NOTCHES = [0, 50, 60] as const;

/** Numerator and denominator of a second-order section; the denominator begins with 1. */
export interface Section {
  b: readonly [number, number, number];
  a: readonly [number, number, number];
}

const NOTCH_Q = 30;

/** Second-order Butterworth by the bilinear transform, warped so that the edge stands where it is asked for. */
export function butterworth(kind: "high" | "low", edgeHz: number, rateHz: number): Section {
  const k = Math.tan((Math.PI * edgeHz) / rateHz);
  const norm = 1 / (1 + Math.SQRT2 * k + k * k);
  const a: Section["a"] = [1, 2 * (k * k - 1) * norm, (1 - Math.SQRT2 * k + k * k) * norm];
  if (kind === "high") return { b: [norm, -2 * norm, norm], a };
  return { b: [k * k * norm, 2 * k * k * norm, k * k * norm], a };
}

/** A notch of quality 30: 3 dB wide by a thirtieth of its frequency. */
export function notch(hz: number, rateHz: number): Section {
  const w = (2 * Math.PI * hz) / rateHz;
  const gain = 1 / (1 + Math.tan(w / NOTCH_Q / 2));
  const middle = -2 * gain * Math.cos(w);
  return { b: [gain, middle, gain], a: [1, middle, 2 * gain - 1] };
}

/** Run one section in place, from the state it would have after a long stretch of the first value. */
function run({ b, a }: Section, x: Float64Array): void {
  const [first, second] = [b[1] - a[1] * b[0], b[2] - a[2] * b[0]];
  const steady = (first + second) / (1 + a[1] + a[2]);
  let z1 = steady * (x[0] ?? 0);
  let z2 = ((1 + a[1]) * steady - first) * (x[0] ?? 0);
  for (let at = 0; at < x.length; at++) {
    const value = x[at] as number;
    const result = b[0] * value + z1;
    z1 = b[1] * value - a[1] * result + z2;
    z2 = b[2] * value - a[2] * result;
    x[at] = result;
  }
}

/** Forwards and backwards over a stretch without gaps, continued at both ends by its own mirror image. */
export function zeroPhase(section: Section, x: Float64Array, padding: number): Float64Array {
  const n = x.length;
  if (n < 2) return x.slice();
  const pad = Math.min(n - 1, padding);
  const long = new Float64Array(n + 2 * pad);
  const [head, tail] = [x[0] as number, x[n - 1] as number];
  for (let at = 0; at < pad; at++) {
    long[at] = 2 * head - (x[pad - at] as number);
    long[pad + n + at] = 2 * tail - (x[n - 2 - at] as number);
  }
  long.set(x, pad);
  run(section, long);
  long.reverse();
  run(section, long);
  long.reverse();
  return long.slice(pad, pad + n);
}

/** The sections of a choice, each with how many samples it is continued by. Edges beyond half the rate do nothing. */
export function sectionsOf(choice: FilterChoice, rateHz: number): [Section, number][] {
  const reachable = (hz: number): boolean => hz > 0 && hz < rateHz / 2;
  const result: [Section, number][] = [];
  if (reachable(choice.highPassHz)) result.push([butterworth("high", choice.highPassHz, rateHz), Math.round((3 * rateHz) / choice.highPassHz)]);
  if (reachable(choice.notchHz)) result.push([notch(choice.notchHz, rateHz), Math.round(rateHz)]);
  if (reachable(choice.lowPassHz)) result.push([butterworth("low", choice.lowPassHz, rateHz), Math.round(rateHz)]);
  return result;
}

/** A lead filtered, each stretch between two gaps for itself. */
export function filtered(samples: Float64Array, choice: FilterChoice, rateHz: number): Float64Array {
  const sections = sectionsOf(choice, rateHz);
  if (sections.length === 0) return samples;
  const result = samples.slice();
  let from = 0;
  while (from < samples.length) {
    if (Number.isNaN(samples[from])) {
      from++;
      continue;
    }
    let to = from;
    while (to < samples.length && !Number.isNaN(samples[to])) to++;
    let stretch: Float64Array = samples.slice(from, to);
    for (const [section, padding] of sections) stretch = zeroPhase(section, stretch, padding);
    result.set(stretch, from);
    from = to;
  }
  return result;
}

export const isOff = (choice: FilterChoice): boolean => !choice.highPassHz && !choice.lowPassHz && !choice.notchHz;
