// Cuts faces out and follows them with the browser sample's code: PACKAGE, and on standard input what to do, as JSON.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { Follower, cutOut } = await import(`${pathToFileURL(process.argv[2])}/browser/faces.mjs`);
const { image, cuts, frames } = JSON.parse(readFileSync(0, "utf8"));
const data = new Uint8ClampedArray(Buffer.from(image.rgba, "base64"));
const crops = cuts.map(({ face, crop }) => {
  const found = cutOut({ ...image, data }, face, crop);
  return { width: found.width, height: found.height, rgba: Buffer.from(found.data).toString("base64") };
});
const follower = new Follower();
const identities = frames.map(({ time, faces }) => follower.found(faces, time).map(([identity]) => identity));
console.log(JSON.stringify({ crops, identities }));
