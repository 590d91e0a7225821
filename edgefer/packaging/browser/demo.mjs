// The demo page: a picture or the camera, a face in it that is found and followed, or a square that the user moves, and
// what the network says of it; before the camera, on as many frames as video.json says, and smoothed.

import { Answers, element } from "./answers.mjs";
import { FaceTimeline, rectangle, traces } from "./face_timeline.mjs";
import { Follower, cutOut } from "./faces.mjs";
import { Stage } from "./stage.mjs";

const $ = (id) => document.getElementById(id);
const SQUARE = "square"; // identity of what the user's own square shows
const KEPT = 30; // frames that times are the median of
const DRAGGED = 5; // pixels that a pointer moves before it drags

const stage = new Stage($("view"));
const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
const square = { x: 0.5, y: 0.5, size: 1 }; // centre and side, as shares of the picture and of its shorter side
const times = { finding: [], network: [], frame: [] };

let library, model, detector, answers, inTime;
let picture; // { source, width, height, live, begun, frame, automatic, follower, timelines, chosen, faces }
let running = false;

start().catch((error) => {
  $("golden").hidden = true;
  complain("The demo cannot start.", error.message);
});

async function start() {
  $("notice").hidden = true;
  report("Loading the network \u2026");
  try {
    library = await import("./expression.mjs");
  } catch (error) {
    if ((await fetch("onnxruntime-web/ort.wasm.bundle.min.mjs", { method: "HEAD" })).ok) throw error;
    $("golden").hidden = true;
    return complain(
      "onnxruntime-web is missing.",
      "This package was made without --browser-demo. README.md says how to add it.",
    );
  }
  model = await library.ExpressionModel.load();
  detector = await loadDetector();
  inTime = await (await library.fetched("video.json", library.PACKAGE)).json();
  document.querySelector("main").hidden = false;
  document.title = `${model.contract.name}: expressions, on this device`;
  answers = new Answers(model.contract.outputs);
  $("find").hidden = !detector;
  listen();
  report("Running golden tests \u2026");
  const drawings = await library.goldenTests(model);
  const expected = await (await library.fetched("golden/traces.json", library.PACKAGE)).json();
  const results = [...drawings, ...(await traces(inTime, model.contract.input.face_crop, expected))];
  const passed = results.filter((result) => result.passed).length;
  report(`${passed} of ${results.length} golden tests passed`, passed === results.length);
  $("golden").title = `Largest difference: ${Math.max(...results.map((result) => result.difference)).toFixed(4)}`;
  addDrawings(new Set(drawings.map((result) => result.name)));
}

/** BlazeFace, null where the package was made without it. */
async function loadDetector() {
  const { FaceDetector } = await import("./face_detector.mjs");
  return (await fetch("blazeface/blazeface.onnx", { method: "HEAD" })).ok ? FaceDetector.load() : null;
}

function listen() {
  $("camera").addEventListener("click", toggleCamera);
  $("file").addEventListener("change", ({ target }) => target.files[0] && open(target.files[0]));
  $("find").addEventListener("click", () => picture && follow(!picture.automatic));
  $("size").addEventListener("input", ({ target }) => moveSquare(square.x, square.y, target.value / 100));
  const place = $("stage");
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    place.addEventListener(type, (event) => {
      event.preventDefault();
      place.classList.toggle("over", type === "dragenter" || type === "dragover");
    });
  }
  place.addEventListener("drop", ({ dataTransfer }) => dataTransfer.files[0] && open(dataTransfer.files[0]));
  listenToPointer($("view"));
  $("view").addEventListener("keydown", (event) => {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (right === undefined || !picture) return;
    event.preventDefault();
    moveSquare(square.x + 0.02 * (picture.live ? -right : right), square.y + 0.02 * down);
  });
  new ResizeObserver(fit).observe(place);
  fit();
}

/** A drag moves the square; a tap on another face has that one followed. */
function listenToPointer(view) {
  let last, moved;
  view.addEventListener("pointerdown", (event) => {
    if (!picture) return;
    view.setPointerCapture(event.pointerId);
    [last, moved] = [event, false];
  });
  view.addEventListener("pointermove", (event) => {
    if (!picture || !last || !event.buttons) return;
    moved ||= Math.hypot(event.offsetX - last.offsetX, event.offsetY - last.offsetY) > DRAGGED;
    if (!moved) return;
    const [from, to] = [stage.place(last), stage.place(event)];
    last = event;
    moveSquare(square.x + (to[0] - from[0]) / picture.width, square.y + (to[1] - from[1]) / picture.height);
  });
  view.addEventListener("pointerup", (event) => {
    last = null;
    if (!picture?.automatic || moved) return;
    const [x, y] = stage.place(event);
    const here = picture.faces?.find(([, f]) => x >= f.x && x <= f.x + f.width && y >= f.y && y <= f.y + f.height);
    if (!here) return;
    picture.chosen = here[0];
    run();
  });
}

async function open(blob, isFace = false) {
  stopCamera();
  try {
    const source = await createImageBitmap(blob);
    show({ source, width: source.width, height: source.height, live: false, automatic: Boolean(detector) && !isFace });
  } catch {
    complain("That is not a picture that this browser can read.", "Try a JPEG or PNG file.");
  }
}

async function toggleCamera() {
  if (video.srcObject) return stopCamera();
  const wanted = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 } };
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
    await video.play();
  } catch (error) {
    video.srcObject = null;
    const reason = error.name === "NotAllowedError" ? "It was not allowed." : "No camera can be used here.";
    return complain("The camera stays off.", `${reason} Pictures work without one.`);
  }
  $("camera").textContent = "Stop camera";
  $("camera").setAttribute("aria-pressed", "true");
  const { videoWidth: width, videoHeight: height } = video;
  show({ source: video, width, height, live: true, automatic: Boolean(detector) }, 0.6);
}

function stopCamera() {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  $("camera").textContent = "Use camera";
  $("camera").setAttribute("aria-pressed", "false");
}

function show(next, size = 1) {
  picture = { ...next, begun: performance.now(), frame: 0, follower: new Follower(), timelines: new Map() };
  picture.canvas = new OffscreenCanvas(picture.width, picture.height);
  Object.assign(square, { x: 0.5, y: 0.5, size });
  $("notice").hidden = true;
  $("stage").classList.add("filled");
  for (const control of [$("size"), $("find")]) control.disabled = false;
  for (const button of $("drawings").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  for (const values of Object.values(times)) values.length = 0;
  follow(picture.automatic);
}

/** Finds and follows faces, or leaves it to the user. */
function follow(automatic) {
  picture.automatic = automatic;
  times.finding.length = 0;
  $("find").setAttribute("aria-pressed", String(automatic));
  moveSquare(square.x, square.y, square.size, automatic);
}

/** Leaves it to the user, whose square begins where the face is that was followed. */
function leave() {
  const [bright] = picture.shown ?? [];
  if (bright) {
    const [left, top, width, height] = bright;
    square.size = Math.min(Math.max(width, height) / Math.min(picture.width, picture.height), 1);
    Object.assign(square, { x: (left + width / 2) / picture.width, y: (top + height / 2) / picture.height });
  }
  follow(false);
}

function moveSquare(x, y, size = square.size, automatic = false) {
  if (!picture) return;
  if (picture.automatic && !automatic) return leave();
  const side = size * Math.min(picture.width, picture.height);
  const within = (centre, length) => Math.min(Math.max(centre, side / 2 / length), 1 - side / 2 / length);
  Object.assign(square, { size, x: within(x, picture.width), y: within(y, picture.height) });
  $("size").value = 100 * size;
  picture.changed = true;
  run();
}

/** Looks at a picture once, and at the camera until it is off. */
async function run() {
  if (running) {
    picture.changed = true;
    return;
  }
  running = true;
  try {
    do {
      picture.changed = false;
      await look(picture);
    } while (picture.changed || video.srcObject);
  } finally {
    running = false;
  }
  $("rate").textContent = "off";
}

/** One look at a picture, or at the camera's frame. */
async function look(seen) {
  const begun = performance.now();
  const time = (begun - seen.begun) / 1000;
  const image = pixels(seen);
  const faces = seen.automatic ? await facesOf(seen, image, time) : [];
  const target = targetOf(seen, faces);
  const cut = target.face && cutOut(image, target.face, target.crop);
  const ask = cut && (() => asked(cut, seen, target.identity));
  const values = seen.live ? await timelineOf(seen, target.identity)?.see(seen.frame, time, ask) : await ask?.();
  if (seen !== picture) return;
  const others = faces.filter(([identity]) => identity !== target.identity).map(([, face]) => boxOf(face));
  seen.shown = [target.face && rectangle(boxOf(target.face), target.crop), others];
  stage.draw(seen.canvas, seen.live, ...seen.shown);
  answers.tell(values ? model.named(values) : null);
  hint(seen, faces.length, target);
  document.dispatchEvent(new CustomEvent("look", { detail: { frame: seen.frame, time, image, target, values } }));
  seen.frame++;
  await (seen.live && video.srcObject ? nextFrame() : new Promise(requestAnimationFrame));
  note("frame", performance.now() - begun);
  tellTimes();
}

/** The picture as ImageData; of the camera, what it shows now. */
function pixels(seen) {
  if (seen.image && !(seen.live && video.srcObject)) return seen.image;
  const context = seen.canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(seen.source, 0, 0, seen.width, seen.height);
  return (seen.image = context.getImageData(0, 0, seen.width, seen.height));
}

/** The faces in it, as [identity, face]; those of a picture that does not move are looked for once. */
async function facesOf(seen, image, time) {
  if (seen.faces && !(seen.live && video.srcObject)) return seen.faces;
  const begun = performance.now();
  seen.faces = seen.follower.found(await detector.detect(image), time);
  note("finding", performance.now() - begun);
  return seen.faces;
}

/** What the network is shown: the face that is followed, if it is in sight, or the user's square. */
function targetOf(seen, faces) {
  if (!seen.automatic || (!seen.live && !faces.length)) {
    const side = square.size * Math.min(seen.width, seen.height);
    const [x, y] = [square.x * seen.width - side / 2, square.y * seen.height - side / 2];
    return { identity: SQUARE, face: { x, y, width: side, height: side }, crop: null };
  }
  const isRemembered = seen.follower.known.some(({ identity }) => identity === seen.chosen);
  if (!isRemembered) seen.chosen = faces[0]?.[0];
  const face = faces.find(([identity]) => identity === seen.chosen)?.[1] ?? null;
  return { identity: seen.chosen, face, crop: model.contract.input.face_crop };
}

/** What follows a face in time; those of faces that are forgotten go. */
function timelineOf(seen, identity) {
  const known = [SQUARE, ...seen.follower.known.map((each) => each.identity)];
  for (const each of seen.timelines.keys()) if (!known.includes(each)) seen.timelines.delete(each);
  if (identity === undefined) return undefined;
  if (!seen.timelines.has(identity)) seen.timelines.set(identity, new FaceTimeline(inTime));
  return seen.timelines.get(identity);
}

async function asked(cut, seen, identity) {
  const begun = performance.now();
  if (!seen.live || seen.asked !== identity) model.reset(); // where the network carries states, they are another face's
  seen.asked = identity;
  const values = await model.values(library.toPixels(cut, model.contract.input));
  note("network", performance.now() - begun);
  return values;
}

/** When the camera has another frame, or has fallen silent. */
function nextFrame() {
  const silence = new Promise((resolve) => setTimeout(resolve, 250));
  if (!video.requestVideoFrameCallback) return new Promise(requestAnimationFrame);
  return Promise.race([new Promise((resolve) => video.requestVideoFrameCallback(resolve)), silence]);
}

function hint(seen, count, { identity, face }) {
  const words =
    identity === SQUARE
      ? `${seen.automatic ? "No face was found. " : ""}The square is what the network sees: drag it onto one face, forehead to chin. Arrow keys move it.`
      : !face
        ? "No face in sight."
        : count > 1
          ? `One of ${count} faces is followed: tap another to follow that one.`
          : seen.live
            ? "The face is followed. What is bright is what the network sees; the bars are means over the last seconds."
            : "A face was found. What is bright is what the network sees; drag to choose for yourself.";
  if ($("hint").textContent !== words) $("hint").textContent = words;
}

function fit() {
  stage.fit();
  if (picture?.shown) stage.draw(picture.canvas, picture.live, ...picture.shown);
}

function addDrawings(names) {
  for (const name of names) {
    const image = element("img", { src: `../golden/${name}.png`, alt: `drawing: ${name}` });
    const button = element("button", { type: "button" }, image);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", async () => {
      await open(await (await fetch(image.src)).blob(), true);
      button.setAttribute("aria-pressed", "true");
    });
    $("drawings").append(element("li", {}, button));
  }
}

function note(name, milliseconds) {
  times[name].push(milliseconds);
  if (times[name].length > KEPT) times[name].shift();
}

function tellTimes() {
  for (const name of ["finding", "network"]) {
    $(name).textContent = times[name].length ? `${median(times[name]).toFixed(1)} ms` : "\u2013";
  }
  $("rate").textContent = video.srcObject ? `${(1000 / median(times.frame)).toFixed(0)} fps` : "off";
}

/** Says how the page is doing; `well` is undefined while it is still to be seen. */
function report(what, well) {
  $("golden").hidden = false;
  $("golden").textContent = what;
  $("golden").className = well === undefined ? "badge" : well ? "badge passed" : "badge failed";
}

function complain(what, why) {
  $("notice").hidden = false;
  $("notice").replaceChildren(element("strong", { textContent: what }), ` ${why}`);
}

const boxOf = ({ x, y, width, height }) => [x, y, width, height];
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
