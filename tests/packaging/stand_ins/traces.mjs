// Runs the browser sample's traces in Node: PACKAGE.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder] = process.argv.slice(2);
const { traces } = await import(`${pathToFileURL(folder)}/browser/face_timeline.mjs`);
const read = (name) => JSON.parse(readFileSync(`${folder}/${name}`, "utf8"));
const contract = read("preprocessing.json");
const results = await traces(read("video.json"), contract.input.face_crop, read("golden/traces.json"));
for (const { name, passed } of results) console.log(`${passed ? "passed" : "FAILED"}  ${name}`);
process.exit(results.every(({ passed }) => passed) ? 0 : 1);
