// The demo page around expression.mjs: a picture or the camera, a crop that the user moves, and what comes out.

const $ = (id) => document.getElementById(id);
const view = $("view");
const context = view.getContext("2d", { willReadFrequently: true });
const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
const crop = { x: 0.5, y: 0.5, size: 1 }; // centre and side, as shares of the picture and of its shorter side
const KEPT = 30; // frames that times are the median of

let library, model, picture; // picture: { source, width, height, mirrored }
let running = false;
const times = { network: [], resizing: [], frame: [] };

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
  document.querySelector("main").hidden = false;
  document.title = `${model.contract.name}: expressions, on this device`;
  addHeads();
  listen();
  fitView();
  report("Running golden tests \u2026");
  const results = await library.goldenTests(model);
  const passed = results.filter((result) => result.passed).length;
  report(`${passed} of ${results.length} golden tests passed`, passed === results.length);
  $("golden").title = `Largest difference: ${Math.max(...results.map((result) => result.difference)).toFixed(4)}`;
  addDrawings(results.map((result) => result.name));
}

function listen() {
  $("camera").addEventListener("click", toggleCamera);
  $("file").addEventListener("change", ({ target }) => target.files[0] && open(target.files[0]));
  $("size").addEventListener("input", ({ target }) => moveCrop(crop.x, crop.y, target.value / 100));
  const stage = $("stage");
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    stage.addEventListener(type, (event) => {
      event.preventDefault();
      stage.classList.toggle("over", type === "dragenter" || type === "dragover");
    });
  }
  stage.addEventListener("drop", ({ dataTransfer }) => dataTransfer.files[0] && open(dataTransfer.files[0]));
  view.addEventListener("pointerdown", (event) => view.setPointerCapture(event.pointerId));
  view.addEventListener("pointermove", (event) => {
    if (!picture || !event.buttons) return;
    const { scale } = placement();
    const by = (event.movementX * devicePixelRatio) / scale / picture.width;
    moveCrop(crop.x + (picture.mirrored ? -by : by), crop.y + (event.movementY * devicePixelRatio) / scale / picture.height);
  });
  view.addEventListener("keydown", (event) => {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (right === undefined) return;
    event.preventDefault();
    moveCrop(crop.x + 0.02 * (picture?.mirrored ? -right : right), crop.y + 0.02 * down);
  });
  new ResizeObserver(fitView).observe(stage);
}

async function open(blob) {
  stopCamera();
  try {
    const source = await createImageBitmap(blob);
    show({ source, width: source.width, height: source.height, mirrored: false });
  } catch {
    complain("That is not a picture that this browser can read.", "Try a JPEG or PNG file.");
  }
}

async function toggleCamera() {
  if (video.srcObject) return stopCamera();
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    await video.play();
  } catch (error) {
    video.srcObject = null;
    const reason = error.name === "NotAllowedError" ? "It was not allowed." : "No camera can be used here.";
    return complain("The camera stays off.", `${reason} Pictures work without one.`);
  }
  $("camera").textContent = "Stop camera";
  $("camera").setAttribute("aria-pressed", "true");
  show({ source: video, width: video.videoWidth, height: video.videoHeight, mirrored: true }, 0.6);
}

function stopCamera() {
  if (picture?.source === video) {
    const still = new OffscreenCanvas(picture.width, picture.height);
    still.getContext("2d").drawImage(video, 0, 0);
    picture = { ...picture, source: still };
  }
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  $("camera").textContent = "Use camera";
  $("camera").setAttribute("aria-pressed", "false");
}

function show(next, size = 1) {
  picture = next;
  $("notice").hidden = true;
  $("stage").classList.add("filled");
  $("size").disabled = false;
  for (const button of $("drawings").querySelectorAll("button")) button.setAttribute("aria-pressed", "false");
  for (const values of Object.values(times)) values.length = 0;
  $("size").value = 100 * size;
  moveCrop(0.5, 0.5, size);
}

function moveCrop(x, y, size = crop.size) {
  if (!picture) return;
  const side = size * Math.min(picture.width, picture.height);
  const within = (centre, length) => Math.min(Math.max(centre, side / 2 / length), 1 - side / 2 / length);
  Object.assign(crop, { size, x: within(x, picture.width), y: within(y, picture.height) });
  run();
}

/** Looks at one picture once, and at the camera until it is off. */
async function run() {
  if (running) return;
  running = true;
  try {
    while (await look());
  } finally {
    running = false;
  }
}

/** One look at the picture; whether there is more to see. */
async function look() {
  const [seen, { x, y, size }] = [picture, crop];
  const begun = performance.now();
  draw();
  const pixels = library.toPixels(cropped(), model.contract.input);
  const resized = performance.now();
  const results = await model.run(pixels);
  note("resizing", resized - begun);
  note("network", performance.now() - resized);
  tell(results);
  await new Promise(requestAnimationFrame);
  note("frame", performance.now() - begun);
  tellTimes();
  return video.srcObject || picture !== seen || crop.x !== x || crop.y !== y || crop.size !== size;
}

/** The square as ImageData, at the picture's own resolution. */
function cropped() {
  const side = Math.max(1, Math.round(crop.size * Math.min(picture.width, picture.height)));
  const canvas = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  const [left, top] = [crop.x * picture.width - side / 2, crop.y * picture.height - side / 2].map(Math.round);
  canvas.drawImage(picture.source, left, top, side, side, 0, 0, side, side);
  return canvas.getImageData(0, 0, side, side);
}

function placement() {
  const scale = Math.min(view.width / picture.width, view.height / picture.height);
  return { scale, left: (view.width - scale * picture.width) / 2, top: (view.height - scale * picture.height) / 2 };
}

function draw() {
  context.clearRect(0, 0, view.width, view.height);
  if (!picture) return;
  const { scale, left, top } = placement();
  const [width, height] = [scale * picture.width, scale * picture.height];
  const side = crop.size * Math.min(width, height);
  context.save();
  if (picture.mirrored) context.setTransform(-1, 0, 0, 1, view.width, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.source, left, top, width, height);
  const square = [left + crop.x * width - side / 2, top + crop.y * height - side / 2, side, side];
  const outside = new Path2D();
  outside.rect(left, top, width, height);
  outside.rect(...square);
  context.fillStyle = style("--shade");
  context.fill(outside, "evenodd");
  context.lineWidth = 2 * devicePixelRatio;
  context.strokeStyle = "#ffffff";
  context.strokeRect(...square);
  context.restore();
}

function fitView() {
  view.width = Math.round($("stage").clientWidth * devicePixelRatio);
  view.height = Math.round($("stage").clientHeight * devicePixelRatio);
  draw();
}

function addHeads() {
  for (const output of model.contract.outputs) {
    const head = element("div", { className: "head" });
    const bars = element("ul", { className: "bars" });
    for (const label of output.labels) {
      const bar = element("span", { className: signed(output) ? "bar signed" : "bar" }, element("i"));
      const row = element("li", {}, element("span", { textContent: label }), bar, element("span", { className: "number" }));
      bars.append(row);
    }
    head.append(element("h2", { textContent: output.kind.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase()) }), bars);
    $("heads").append(head);
  }
  $("smile").hidden = smile(Object.fromEntries(model.contract.outputs.map((o) => [o.name, { ...o, values: [] }]))) === null;
}

function addDrawings(names) {
  for (const name of names) {
    const image = element("img", { src: `../golden/${name}.png`, alt: `drawing: ${name}` });
    const button = element("button", { type: "button" }, image);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", async () => {
      await open(await (await fetch(image.src)).blob());
      button.setAttribute("aria-pressed", "true");
    });
    $("drawings").append(element("li", {}, button));
  }
}

function tell(results) {
  const heads = Object.values(results);
  document.querySelectorAll(".head").forEach((head, i) => {
    const { values } = heads[i];
    const output = model.contract.outputs[i];
    head.querySelectorAll("li").forEach((row, j) => {
      const [label, bar, number] = row.children;
      label.classList.toggle("top", standsOut(output, values, j));
      bar.firstChild.style.setProperty("--value", values[j]);
      number.textContent = signed(output) ? values[j].toFixed(2) : percent(values[j]);
    });
  });
  const score = smile(results);
  if (score !== null) {
    $("score").textContent = percent(score);
    $("score").setAttribute("aria-valuenow", Math.round(100 * score));
    $("mouth").setAttribute("d", `M18 ${42 - 5 * score}Q32 ${36 + 20 * score} 46 ${42 - 5 * score}`);
  }
  const { labels, values } = heads[0];
  const summary = `${labels[values.indexOf(Math.max(...values))]}, ${percent(Math.max(...values))}`;
  view.setAttribute("aria-label", `The picture: ${summary}`);
  const top = summary.split(",")[0];
  if (!$("said").textContent.startsWith(`${top},`)) $("said").textContent = summary;
}

/** Whether a value is what the output says: the largest probability, or one that reaches its threshold. */
function standsOut(output, values, index) {
  if (signed(output)) return false;
  if (output.values === "a probability each") return values[index] >= (output.thresholds?.[index] ?? 0.5);
  return values[index] === Math.max(...values);
}

function note(name, milliseconds) {
  times[name].push(milliseconds);
  if (times[name].length > KEPT) times[name].shift();
}

function tellTimes() {
  $("network").textContent = `${median(times.network).toFixed(1)} ms`;
  $("resizing").textContent = `${median(times.resizing).toFixed(1)} ms`;
  $("rate").textContent = video.srcObject ? `${(1000 / median(times.frame)).toFixed(0)} fps` : "off";
}

/** Probability of a smile, null where the network knows no such label. */
function smile(results) {
  for (const { labels, values } of Object.values(results)) {
    const index = labels.findIndex((label) => /^(happy|happiness|smile|smiling)$/i.test(label));
    if (index >= 0) return values[index] ?? 0;
  }
  return null;
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

const signed = (output) => output.values === "from -1 to 1";
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
