// Runs the network in a web page: pixels in, labelled values out. Copy this file into your app; it needs
// onnxruntime-web beside it, and preprocessing.json, models/ and golden/ one directory up.
//
//   const model = await ExpressionModel.load();
//   const { expression } = await model.read(faceCrop);       // ImageData of any size
//   expression.values[expression.labels.indexOf("happy")];   // 0.87
//
// A network that carries states, or reads clips (preprocessing.json says so), is shown every frame of a face, and
// `model.reset()` where another begins.
//
// For faces in video: face_detector.mjs finds them, faces.mjs follows them and cuts them out, and face_timeline.mjs says
// when to ask the network, and smooths its answers.

import * as ort from "./onnxruntime-web/ort.wasm.bundle.min.mjs";

export { ort };

export const PACKAGE = new URL("../", import.meta.url);

ort.env.wasm.numThreads = 1; // more need a cross-origin isolated page
ort.env.wasm.wasmPaths = { wasm: new URL("./onnxruntime-web/ort-wasm-simd-threaded.wasm", import.meta.url).href };

export class ExpressionModel {
  static async load(base = PACKAGE) {
    const contract = await (await fetched("preprocessing.json", base)).json();
    const network = await (await fetched(contract.artifacts.onnx, base)).arrayBuffer();
    return new ExpressionModel(contract, await ort.InferenceSession.create(new Uint8Array(network)));
  }

  constructor(contract, session) {
    this.contract = contract;
    this.session = session;
    this.reset();
  }

  /** Another sequence begins: another face, or another video. */
  reset() {
    this.states = (this.contract.states ?? []).map(({ shape }) => new ort.Tensor("float32", new Float32Array(size(shape)), shape));
    this.frames = [];
  }

  /** Results by output for an upright face crop: ImageData of any size. */
  read(image) {
    return this.run(toPixels(image, this.contract.input));
  }

  /** Results by output for the next frame at exactly the network's size: Uint8Array, height * width * 3, RGB. */
  async run(pixels) {
    return this.named(await this.values(pixels));
  }

  /** The same as one list: values of all outputs, as labels.txt names them. */
  async values(pixels) {
    const { shape } = this.contract.input;
    const states = this.contract.states ?? [];
    const input = new ort.Tensor("uint8", this.#clip(pixels, shape), shape);
    const fed = Object.fromEntries(states.map(({ input }, i) => [input, this.states[i]]));
    const values = await this.session.run({ [this.session.inputNames[0]]: input, ...fed });
    this.states = states.map(({ output }) => values[output]);
    return this.contract.outputs.flatMap(({ name }) => this.#real(name, Array.from(values[name].data)));
  }

  /** What an output is, or what its integers stand for, where the contract says that they are some. */
  #real(name, values) {
    const stored = this.contract.integers?.onnx[name];
    return stored ? values.map((integer) => stored.scale * (integer - stored.zero_point)) : values;
  }

  /** What the network reads: the frame; of clips the last frames, where the first stands for those before it. */
  #clip(pixels, shape) {
    if (shape.length < 5) return pixels;
    this.frames = [...(this.frames.length ? this.frames : Array(shape[1]).fill(pixels)).slice(1), pixels];
    const clip = new Uint8Array(size(shape));
    this.frames.forEach((frame, i) => clip.set(frame, i * frame.length));
    return clip;
  }

  /** Results by output of such a list. */
  named(values) {
    let first = 0;
    return Object.fromEntries(
      this.contract.outputs.map(({ name, labels }) => {
        first += labels.length;
        return [name, { labels, values: values.slice(first - labels.length, first) }];
      }),
    );
  }
}

const size = (shape) => shape.reduce((a, b) => a * b, 1);

/** The package's own tests: what this browser says about the drawings, against what it should say. */
export async function goldenTests(model, base = PACKAGE) {
  const table = await (await fetched("golden/expected.tsv", base)).text();
  const rows = table.trimEnd().split("\n").slice(1).map((line) => line.split("\t"));
  const results = [];
  model.reset();
  for (const [name, artifact, tolerance, ...expected] of rows) {
    if (artifact !== "onnx") continue;
    const pixels = new Uint8Array(await (await fetched(`golden/${name}.rgb`, base)).arrayBuffer());
    const image = await decode(await (await fetched(`golden/${name}.png`, base)).blob());
    const resized = toPixels(image, model.contract.input);
    const values = await model.values(pixels);
    const difference = Math.max(...values.map((value, i) => Math.abs(value - Number(expected[i]))));
    const levels = resized.reduce((most, level, i) => Math.max(most, Math.abs(level - pixels[i])), 0);
    results.push({ name, values, difference, levels, passed: difference <= Number(tolerance) && levels <= 1 });
  }
  model.reset();
  return results;
}

/** Pixels of an encoded picture, upright and with no colours changed. */
export async function decode(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** An ImageData resized, and cropped if the contract says so, to the network's RGB pixels. */
export function toPixels(image, { shape, resize, fit, crop_fraction: kept }) {
  const { width, height } = image;
  const [rows, columns] = shape.slice(-3);
  const rgb = withoutAlpha(image);
  const [tall, wide] = fit === "stretch" ? [rows, columns] : covering([height, width], [rows, columns], kept);
  const across = resample(rgb, height, taps(width, wide, Math.round((wide - columns) / 2), columns, resize), 3);
  return resample(across, 1, taps(height, tall, Math.round((tall - rows) / 2), rows, resize), columns * 3);
}

/** The RGB pixels of an ImageData at another size, rounded once, as OpenCV does. */
export function resized(image, width, height, filter) {
  const across = resample(withoutAlpha(image), image.height, taps(image.width, width, 0, width, filter), 3, Float32Array);
  return resample(across, 1, taps(image.height, height, 0, height, filter), width * 3);
}

function withoutAlpha({ data, width, height }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return rgb;
}

/** Height and width that cover size / kept, with the aspect ratio of the image. */
function covering(image, size, kept) {
  const target = size.map((side) => Math.trunc(side / kept));
  const narrow = target[0] * image[1] >= target[1] * image[0] ? 0 : 1;
  return image.map((side) => Math.trunc((target[narrow] * side) / image[narrow]));
}

// Weights are integers of 22 bits, as Pillow's are: the sums are exact, and equal on every machine.
const ONE = 2 ** 22;

/** Which inputs each output is made of, and how much each counts: `count` outputs from `first`, of `resized`. */
function taps(length, resized, first, count, filter) {
  const scale = length / resized;
  const reach = (filter === "bicubic" ? 2 : 1) * Math.max(scale, 1);
  return Array.from({ length: count }, (_, index) => {
    const centre = (first + index + 0.5) * scale;
    const start = Math.max(0, Math.floor(centre - reach));
    const stop = Math.min(length, Math.ceil(centre + reach));
    const weights = Array.from({ length: stop - start }, (_, i) => FILTERS[filter](start + i, centre, scale));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { start, weights: weights.map((weight) => Math.trunc((weight / sum) * ONE + 0.5 * Math.sign(weight))) };
  });
}

/** How much input pixel `i` counts for an output around `centre`; `scale` inputs make one output. */
const FILTERS = {
  bilinear: (i, centre, scale) => Math.max(0, 1 - Math.abs(i + 0.5 - centre) / Math.max(scale, 1)),
  bicubic: (i, centre, scale) => {
    const d = Math.abs(i + 0.5 - centre) / Math.max(scale, 1);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  },
  area: (i, centre, scale) => Math.max(0, Math.min(i + 1, centre + scale / 2) - Math.max(i, centre - scale / 2)),
  nearest: (i, centre) => Number(i === Math.floor(centre)),
};

/** Weighted sums along the middle axis of pixels laid out as (outer, length, inner); whole levels, unless they are floats. */
function resample(pixels, outer, taps, inner, Levels = Uint8ClampedArray) {
  const length = pixels.length / (outer * inner);
  const isWhole = Levels === Uint8ClampedArray;
  const result = new Levels(outer * taps.length * inner);
  let to = 0;
  for (let row = 0; row < outer; row++) {
    for (const { start, weights } of taps) {
      for (let column = 0; column < inner; column++, to++) {
        let sum = isWhole ? ONE / 2 : 0;
        let from = (row * length + start) * inner + column;
        for (const weight of weights) {
          sum += weight * pixels[from];
          from += inner;
        }
        result[to] = isWhole ? Math.floor(sum / ONE) : sum / ONE;
      }
    }
  }
  return isWhole ? new Uint8Array(result.buffer) : result;
}

export async function fetched(path, base) {
  const response = await fetch(new URL(path, base));
  if (!response.ok) throw new Error(`${path}: the server answers ${response.status}`);
  return response;
}
