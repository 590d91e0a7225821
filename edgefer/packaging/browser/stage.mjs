// The picture on the page: drawn with what the network sees of it bright, and places on it told in its own pixels.

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  /** Gives the canvas as many pixels as it has on the screen. */
  fit() {
    this.canvas.width = Math.round(this.canvas.parentElement.clientWidth * devicePixelRatio);
    this.canvas.height = Math.round(this.canvas.parentElement.clientHeight * devicePixelRatio);
  }

  /** Draws a canvas; `bright` is left, top, width, height of what the network sees, or null; `others` are further faces. */
  draw(source, mirrored, bright, others) {
    const { canvas, context } = this;
    this.source = source;
    this.mirrored = mirrored;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const { scale, left, top } = this.#placement();
    if (mirrored) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(source, left, top, scale * source.width, scale * source.height);
    const placed = ([x, y, width, height]) => [left + scale * x, top + scale * y, scale * width, scale * height];
    context.strokeStyle = "#ffffff";
    context.lineWidth = devicePixelRatio;
    context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const face of others) context.strokeRect(...placed(face));
    context.setLineDash([]);
    if (!bright) return;
    const outside = new Path2D();
    outside.rect(...placed([0, 0, source.width, source.height]));
    outside.rect(...placed(bright));
    context.save();
    context.clip(new Path2D(outside), "evenodd");
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--shade");
    context.fillRect(...placed([0, 0, source.width, source.height]));
    context.restore();
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeRect(...placed(bright));
  }

  /** Where a pointer is, in the picture's pixels. */
  place({ offsetX, offsetY }) {
    const { scale, left, top } = this.#placement();
    const [x, y] = [offsetX, offsetY].map((offset) => offset * devicePixelRatio);
    return [((this.mirrored ? this.canvas.width - x : x) - left) / scale, (y - top) / scale];
  }

  #placement() {
    const { canvas, source } = this;
    const scale = Math.min(canvas.width / source.width, canvas.height / source.height);
    return { scale, left: (canvas.width - scale * source.width) / 2, top: (canvas.height - scale * source.height) / 2 };
  }
}
