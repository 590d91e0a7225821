// Faces followed from frame to frame by place and time alone, nobody is recognised; and cut out as in training.
//
//   const follower = new Follower();
//   for (const [identity, face] of follower.found(await detector.detect(image), seconds)) {
//     const crop = cutOut(image, face, contract.input.face_crop);          // for toPixels of expression.mjs
//   }

import { rectangle } from "./face_timeline.mjs";

const REMEMBERED_S = 2; // so long after it was last seen, a face that appears at the same place is the same
const OVERLAP = 0.2;
const NEAR = 1; // of the box's width, between centres
const ALIKE = 2; // one box is at most so many times as wide as the other

/** Gives faces identities, counted from 1 in the order of their appearance. */
export class Follower {
  constructor() {
    this.known = []; // { identity, face, seen }
    this.count = 0;
  }

  /** What a detector found at a time in seconds, each as [identity, face], in the detector's order. */
  found(faces, time) {
    this.known = this.known.filter(({ seen }) => time - seen <= REMEMBERED_S);
    const pairs = faces.flatMap((face, place) =>
      this.known.map((known) => ({ place, known, likeness: similarity(known.face, face) })),
    );
    pairs.sort((a, b) => b.likeness - a.likeness || a.place - b.place || a.known.identity - b.known.identity);
    const chosen = new Map();
    for (const { place, known, likeness } of pairs) {
      if (likeness >= 0 && !chosen.has(place) && ![...chosen.values()].includes(known)) chosen.set(place, known);
    }
    return faces.map((face, place) => {
      if (!chosen.has(place)) {
        chosen.set(place, { identity: ++this.count });
        this.known.push(chosen.get(place));
      }
      return [Object.assign(chosen.get(place), { face, seen: time }).identity, face];
    });
  }
}

/** Intersection over union of two boxes. */
export function overlap(a, b) {
  const width = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const height = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  return shared / Math.max(a.width * a.height + b.width * b.height - shared, 1e-9);
}

/** How well one face continues another, -1 where it cannot be the same. */
function similarity(known, face) {
  const shared = overlap(known, face);
  if (shared >= OVERLAP) return 1 + shared;
  if (known.width > ALIKE * face.width || face.width > ALIKE * known.width) return -1;
  const [dx, dy] = [known.x + known.width / 2 - face.x - face.width / 2, known.y + known.height / 2 - face.y - face.height / 2];
  const distance = Math.hypot(dx, dy) / Math.max(known.width, face.width);
  return distance < NEAR ? 1 - distance : -1;
}

/** The part of an ImageData that the network is shown, as { data, width, height }; outside of it, its edge repeats. */
export function cutOut(image, face, crop) {
  const [left, top, width, height] = rectangle([face.x, face.y, face.width, face.height], crop);
  const points = face.points ?? {};
  const { right_eye, left_eye } = points;
  const names = Object.keys(points).filter((name) => name in TEMPLATE);
  if (crop?.align === "five_points" && names.length >= 3) return warped(image, ...toTemplate(points, names), SIDE, SIDE);
  if (crop?.align === "eyes" && right_eye && left_eye) {
    const angle = Math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0]);
    const turn = [Math.cos(angle), -Math.sin(angle)];
    const [x, y] = times(turn, [face.x + face.width / 2, face.y + face.height / 2]);
    return warped(image, turn, [width / 2 - x, height / 2 - y], width, height);
  }
  const data = new Uint8ClampedArray(width * height * 4);
  const [from, to] = [new Uint32Array(image.data.buffer), new Uint32Array(data.buffer)];
  for (let y = 0; y < height; y++) {
    const row = clamp(top + y, image.height) * image.width;
    for (let x = 0; x < width; x++) to[y * width + x] = from[row + clamp(left + x, image.width)];
  }
  return { data, width, height };
}

const SIDE = 112; // of the pictures in ArcFace's training data, where points lie like this:
const TEMPLATE = {
  right_eye: [38.2946, 51.6963],
  left_eye: [73.5318, 51.5014],
  nose: [56.0252, 71.7366],
  mouth_right: [41.5493, 92.3655],
  mouth_left: [70.7299, 92.2041],
  mouth: [56.1396, 92.2848],
};

/** The turn and shift, as complex numbers, that bring points nearest to where they lie in training, by least squares. */
function toTemplate(points, names) {
  const middle = (places) => [0, 1].map((axis) => places.reduce((sum, place) => sum + place[axis], 0) / places.length);
  const centre = middle(names.map((name) => points[name]));
  const wanted = middle(names.map((name) => TEMPLATE[name]));
  let [real, imaginary, total] = [0, 0, 0];
  for (const name of names) {
    const [x, y] = [points[name][0] - centre[0], points[name][1] - centre[1]];
    const [u, v] = [TEMPLATE[name][0] - wanted[0], TEMPLATE[name][1] - wanted[1]];
    real += x * u + y * v;
    imaginary += x * v - y * u;
    total += x * x + y * y;
  }
  const turn = [real / total, imaginary / total];
  const [x, y] = times(turn, centre);
  return [turn, [wanted[0] - x, wanted[1] - y]];
}

/** `turn` times a place of the picture, plus `shift`, is its place in the result; complex numbers. */
function warped({ data, width: wide, height: tall }, turn, shift, width, height) {
  const result = new Uint8ClampedArray(width * height * 4);
  const size = turn[0] ** 2 + turn[1] ** 2;
  const back = [turn[0] / size, -turn[1] / size];
  for (let v = 0, to = 0; v < height; v++) {
    for (let u = 0; u < width; u++) {
      const [x, y] = times(back, [u - shift[0], v - shift[1]]);
      const [left, top] = [Math.floor(x), Math.floor(y)];
      const [columns, rows] = [[left, left + 1].map((c) => clamp(c, wide)), [top, top + 1].map((r) => clamp(r, tall) * wide)];
      for (let channel = 0; channel < 4; channel++, to++) {
        const at = (row, column) => data[4 * (rows[row] + columns[column]) + channel];
        const across = (row) => at(row, 0) + (at(row, 1) - at(row, 0)) * (x - left);
        result[to] = across(0) + (across(1) - across(0)) * (y - top);
      }
    }
  }
  return { data: result, width, height };
}

const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
const clamp = (place, length) => Math.min(Math.max(place, 0), length - 1);
