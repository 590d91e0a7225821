// What the network says, on the page: a bar for each value, and the smile score.

const $ = (id) => document.getElementById(id);

export class Answers {
  /** Makes a bar for each value of the contract's outputs. */
  constructor(outputs) {
    this.outputs = outputs;
    this.rows = outputs.map((output) => {
      const bars = element("ul", { className: "bars" });
      const title = output.kind.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());
      $("heads").append(element("div", { className: "head" }, element("h2", { textContent: title }), bars));
      return output.labels.map((text) => {
        const bar = element("span", { className: signed(output) ? "bar signed" : "bar" }, element("i"));
        const [label, number] = [element("span", { textContent: text }), element("span", { className: "number" })];
        bars.append(element("li", {}, label, bar, number));
        return { label, bar, number };
      });
    });
    this.smile = outputs.map(({ labels }) => labels.findIndex((label) => /^(happy|happiness|smile|smiling)$/i.test(label)));
    $("smile").hidden = this.smile.every((index) => index < 0);
  }

  /** Shows results by output, or that nothing is known. */
  tell(results) {
    this.outputs.forEach((output, i) => {
      const values = results?.[output.name].values;
      this.rows[i].forEach(({ label, bar, number }, j) => {
        label.classList.toggle("top", Boolean(values) && standsOut(output, values, j));
        bar.firstChild.style.setProperty("--value", values?.[j] ?? 0);
        number.textContent = !values ? "\u2013" : signed(output) ? values[j].toFixed(2) : percent(values[j]);
      });
    });
    const head = this.smile.findIndex((index) => index >= 0);
    if (head >= 0) tellSmile(results?.[this.outputs[head].name].values[this.smile[head]]);
    this.#say(results);
  }

  #say(results) {
    const [{ name, labels }] = this.outputs;
    const values = results?.[name].values ?? [];
    const summary = results ? `${labels[values.indexOf(Math.max(...values))]}, ${percent(Math.max(...values))}` : "nothing is known";
    $("view").setAttribute("aria-label", `The picture: ${summary}`);
    if ($("said").textContent.split(",")[0] !== summary.split(",")[0]) $("said").textContent = summary;
  }
}

function tellSmile(score) {
  $("score").textContent = score === undefined ? "\u2013" : percent(score);
  $("score").setAttribute("aria-valuenow", Math.round(100 * (score ?? 0)));
  $("mouth").setAttribute("d", `M18 ${42 - 5 * (score ?? 0.4)}Q32 ${36 + 20 * (score ?? 0.2)} 46 ${42 - 5 * (score ?? 0.4)}`);
}

/** Whether a value is what the output says: the largest probability, or one that reaches its threshold. */
function standsOut(output, values, index) {
  if (signed(output)) return false;
  if (output.values === "a probability each") return values[index] >= (output.thresholds?.[index] ?? 0.5);
  return values[index] === Math.max(...values);
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const signed = (output) => output.values === "from -1 to 1";
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
