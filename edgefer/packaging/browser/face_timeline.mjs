// A face before a camera: on which frames to ask the network, and its answers, smoothed.
//
//   const timeline = new FaceTimeline(video);                             video.json; one for each face that is followed
//   const [left, top, width, height] = rectangle([x, y, w, h], crop);     what to cut out; crop: preprocessing.json's
//   const scores = await timeline.see(frame, seconds, () => model.values(pixels));
//   await timeline.see(frame, seconds, null);                             the face is not in this frame
//
// `see` asks at once, later, or never, as video.json says; so a frame's pixels must not change.  What a network would
// carry from frame to frame belongs to the face: to what `ask` closes over.

const INSTANT_S = 1e-9;

export class FaceTimeline {
  /** Follows one face in time; `asked` holds frame and level of what the last call of `see` asked the network. */
  constructor(video) {
    this.gap = video.gap_s;
    this.windowLength = video.levels.window_s;
    this.strides = video.levels.strides;
    this.thresholds = video.levels.thresholds;
    this.outputs = [];
    let first = 0;
    for (const { name, values, back_s: back } of video.outputs) {
      this.outputs.push({ first, end: first + values, back });
      if (name === video.levels.output) this.confident = this.outputs.at(-1);
      first += values;
    }
    this.asked = [];
    this.window = null;
    this.waiting = [];
    this.answers = [];
    this.begun = this.seen = -Infinity;
    this.known = [];
  }

  /**
   * Values of all outputs, smoothed; null where nothing is known.
   * Frames without a face count too, and have no `ask`; calls must not overlap.
   */
  async see(frame, time, ask) {
    this.asked = [];
    const window = Math.floor(time / this.windowLength + INSTANT_S);
    if (window !== this.window) await this.#finish();
    this.window = window;
    if (ask) {
      if (time - this.seen > this.gap + INSTANT_S) this.begun = time;
      this.seen = time;
      if (frame % this.strides[0] === 0) {
        await this.#ask(frame, time, 1, ask);
      } else if (frame % this.strides.at(-1) === 0) {
        this.waiting.push({ frame, time, ask });
      }
    }
    this.#forget(time);
    return this.#smooth(time);
  }

  /** Asks about the window that is over, level by level, until an answer is sure enough. */
  async #finish() {
    for (const [level, stride] of this.strides.entries()) {
      for (const { frame, time, ask } of this.waiting) {
        if (frame % stride === 0) await this.#ask(frame, time, level + 1, ask);
      }
      this.waiting = this.waiting.filter(({ frame }) => frame % stride !== 0);
      if (this.#confidence() >= this.thresholds[level]) break;
    }
    this.waiting = [];
    this.answers = [];
  }

  /** The largest mean value over the answers in this window. */
  #confidence() {
    if (!this.answers.length) return -Infinity;
    const { first, end } = this.confident;
    const sums = this.answers.reduce((total, values) => total.map((sum, i) => sum + values[i]), Array(end).fill(0));
    return Math.max(...sums.slice(first)) / this.answers.length;
  }

  async #ask(frame, time, level, ask) {
    const values = await ask();
    this.asked.push([frame, level]);
    this.answers.push(values);
    this.known.push({ time, values });
  }

  /** Keeps of what is older than all means only the last, where the line begins that they are taken of. */
  #forget(time) {
    this.known.sort((a, b) => a.time - b.time);
    const oldest = time - Math.max(...this.outputs.map(({ back }) => back));
    while (this.known.length > 1 && this.known[1].time <= oldest) this.known.shift();
  }

  #smooth(time) {
    const points = this.known.filter((point) => point.time >= this.begun);
    if (time - this.seen > this.gap + INSTANT_S || !points.length) return null;
    return this.outputs.flatMap(({ first, end, back }) => {
      const high = points.at(-1).time;
      const low = Math.max(points[0].time, Math.min(time - back, high));
      return Array.from({ length: end - first }, (_, i) => mean(points, first + i, low, high));
    });
  }
}

/** Mean between two times of the line through values at times, of which `high` is the last. */
function mean(points, column, low, high) {
  if (high - low <= INSTANT_S) return points.at(-1).values[column];
  let area = 0;
  for (let i = 1; i < points.length; i++) {
    const [start, stop] = [points[i - 1].time, points[i].time];
    const begin = Math.max(start, low);
    if (begin >= stop) continue;
    const [first, last] = [points[i - 1].values[column], points[i].values[column]];
    const atBegin = first + (last - first) * ((begin - start) / (stop - start));
    area += ((atBegin + last) / 2) * (stop - begin);
  }
  return area / (high - low);
}

/** Left, top, width and height of what the network is shown of a face whose box is x, y, width, height. */
export function rectangle([x, y, width, height], crop) {
  const { margin, square } = crop ?? { margin: 0, square: false };
  let [wide, tall] = [width, height].map((side) => side * (1 + 2 * margin));
  if (square) wide = tall = Math.max(wide, tall);
  const [across, down] = [wide, tall].map((side) => Math.max(roundHalfEven(side), 1));
  return [roundHalfEven(x + width / 2 - across / 2), roundHalfEven(y + height / 2 - down / 2), across, down];
}

/** To the nearest integer, and from halfway to the even one. */
export function roundHalfEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + Math.abs(below % 2) : Math.round(value);
}

/** The package's own traces: what this browser makes of scores over time, against what it should. */
export async function traces(video, crop, { crops, tolerance, traces: sequences }) {
  const fits = crops.every(({ box, rectangle: expected }) => `${rectangle(box, crop)}` === `${expected}`);
  const results = [{ name: "crops", difference: fits ? 0 : Infinity, passed: fits }];
  for (const { name, frames } of sequences) {
    const timeline = new FaceTimeline(video);
    let [difference, same] = [0, true];
    for (const [index, { time_s: time, scores, asked, smooth }] of frames.entries()) {
      const found = await timeline.see(index, time, scores && (async () => scores));
      same &&= (found === null) === (smooth === null) && `${timeline.asked}` === `${asked}`;
      found?.forEach((value, i) => (difference = Math.max(difference, Math.abs(value - smooth?.[i]))));
    }
    results.push({ name: `trace: ${name}`, difference, passed: same && difference <= tolerance });
  }
  return results;
}
