// Finds faces in a picture, with BlazeFace (blazeface/NOTICE), in a web page.
//
//   const detector = await FaceDetector.load();
//   const [largest] = await detector.detect(image);     // ImageData: { x, y, width, height, score, points }

import { PACKAGE, fetched, ort, resized } from "./expression.mjs";
import { roundHalfEven } from "./face_timeline.mjs";
import { overlap } from "./faces.mjs";

const SIDE = 192;
const CELLS = 48; // one anchor for each of 48x48 places
const THRESHOLD = 0.5; // least score of a face
const SAME_FACE = 0.3; // intersection over union
const POINTS = ["right_eye", "left_eye", "nose", "mouth"]; // the subject's own right

export class FaceDetector {
  static async load(base = PACKAGE) {
    const network = await (await fetched("browser/blazeface/blazeface.onnx", base)).arrayBuffer();
    return new FaceDetector(await ort.InferenceSession.create(new Uint8Array(network)));
  }

  constructor(session) {
    this.session = session;
  }

  /** The faces of an ImageData, the largest first; in its pixels, (0, 0) the upper left corner. */
  async detect(image) {
    const scale = SIDE / Math.max(image.width, image.height);
    const [width, height] = [image.width, image.height].map((side) => Math.max(roundHalfEven(side * scale), 1));
    const [left, top] = [Math.floor((SIDE - width) / 2), Math.floor((SIDE - height) / 2)];
    const small = resized(image, width, height, scale < 1 ? "area" : "bilinear");
    const letterbox = new Float32Array(SIDE * SIDE * 3);
    for (let row = 0; row < height; row++) {
      const to = ((top + row) * SIDE + left) * 3;
      for (let i = 0; i < width * 3; i++) letterbox[to + i] = small[row * width * 3 + i] / 127.5 - 1;
    }
    const found = await this.session.run({ pixels: new ort.Tensor("float32", letterbox, [1, SIDE, SIDE, 3]) });
    const [boxes, logits] = [16, 1].map((length) => Object.values(found).find(({ dims }) => dims[2] === length).data);
    const candidates = [];
    logits.forEach((logit, i) => {
      const score = 1 / (1 + Math.exp(-logit));
      if (score < THRESHOLD) return;
      const raw = boxes.subarray(16 * i, 16 * i + 16);
      const cell = [(i % CELLS) + 0.5, Math.floor(i / CELLS) + 0.5].map((place) => (place * SIDE) / CELLS);
      const placed = (j) => (raw[j] + cell[j % 2] - (j % 2 ? top : left)) / scale;
      const [w, h] = [raw[2] / scale, raw[3] / scale];
      const points = POINTS.map((_, k) => [placed(4 + 2 * k), placed(5 + 2 * k)]);
      candidates.push({ x: placed(0) - w / 2, y: placed(1) - h / 2, width: w, height: h, score, points });
    });
    return blended(candidates).sort((a, b) => b.width * b.height - a.width * a.height);
  }
}

/** One face for each set of boxes that overlap, weighted by their scores: so boxes of following frames shake less. */
function blended(candidates) {
  const faces = [];
  let left = candidates.sort((a, b) => b.score - a.score);
  while (left.length) {
    const [best] = left;
    const same = left.filter((each) => each === best || overlap(best, each) >= SAME_FACE);
    const total = same.reduce((sum, { score }) => sum + score, 0);
    const mean = (value) => same.reduce((sum, each) => sum + value(each) * each.score, 0) / total;
    const points = POINTS.map((name, i) => [name, [mean((each) => each.points[i][0]), mean((each) => each.points[i][1])]]);
    const box = Object.fromEntries(["x", "y", "width", "height"].map((side) => [side, mean((each) => each[side])]));
    faces.push({ ...box, score: best.score, points: Object.fromEntries(points) });
    left = left.filter((each) => !same.includes(each));
  }
  return faces;
}
