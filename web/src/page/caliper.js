/** A caliper on the sheet: two corners that are moved with the pointer or the arrow keys. */

import { svg } from "./dom.js";
import { LEFT, PER_SECOND, milliseconds, millivolts, sheetWidth } from "./paper.js";

const STEP = 0.5; // mm of an arrow key: 20 ms, 0.05 mV
const LARGE_STEP = 5; // with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Caliper {
  /** show: called with the measurement as a sentence whenever it changes. */
  constructor(show) {
    this.show = show;
    this.corners = null;
  }

  /** The overlay for a sheet of this height (mm); the corners stay where they are. */
  attach(height) {
    this.height = height;
    this.corners ??= [
      [LEFT + 4 * PER_SECOND, height / 2 - 5],
      [LEFT + 4.8 * PER_SECOND, height / 2 + 5],
    ];
    this.box = svg("rect", { class: "caliper-box" });
    this.lines = svg("path", { class: "caliper-lines" });
    this.handles = [0, 1].map((index) => this.handle(index));
    this.overlay = svg(
      "svg",
      { viewBox: `0 0 ${sheetWidth} ${height}`, class: "overlay" },
      this.box,
      this.lines,
      this.handles,
    );
    this.overlay.addEventListener("pointerdown", (event) => this.begin(event));
    this.update();
    return this.overlay;
  }

  focus() {
    this.handles[0].focus();
  }

  handle(index) {
    const names = ["Caliper, first corner", "Caliper, second corner"];
    const group = svg(
      "g",
      {
        class: "handle",
        tabindex: 0,
        role: "slider",
        "aria-label": names[index],
        "aria-valuemin": 0,
        "aria-valuemax": 10000,
      },
      svg("circle", { r: 4, class: "touch" }),
      svg("circle", { r: 1.6 }),
    );
    group.addEventListener("keydown", (event) => {
      const move = ARROWS[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      const step = event.shiftKey ? LARGE_STEP : STEP;
      this.move(
        index,
        this.corners[index].map((value, axis) => value + move[axis] * step),
      );
    });
    return group;
  }

  begin(event) {
    const index = this.handles.findIndex((handle) => handle.contains(event.target));
    if (index < 0 && event.pointerType === "touch") return; // the sheet scrolls
    event.preventDefault();
    if (index < 0) this.corners = [this.place(event), this.place(event)];
    const moved = index < 0 ? 1 : index;
    const drag = (next) => this.move(moved, this.place(next));
    this.overlay.setPointerCapture(event.pointerId);
    this.overlay.addEventListener("pointermove", drag);
    const stop = () => this.overlay.removeEventListener("pointermove", drag);
    this.overlay.addEventListener("pointerup", stop, { once: true });
    this.overlay.addEventListener("pointercancel", stop, { once: true });
    this.handles[moved].focus({ preventScroll: true });
    this.update();
  }

  place(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.overlay.getScreenCTM().inverse());
    return [point.x, point.y];
  }

  move(index, [x, y]) {
    this.corners[index] = [Math.min(sheetWidth, Math.max(0, x)), Math.min(this.height, Math.max(0, y))];
    this.update();
  }

  update() {
    const [[x1, y1], [x2, y2]] = this.corners;
    const [x, y, width, height] = [Math.min(x1, x2), Math.min(y1, y2), Math.abs(x2 - x1), Math.abs(y2 - y1)];
    for (const [name, value] of Object.entries({ x, y, width, height })) this.box.setAttribute(name, value);
    this.lines.setAttribute("d", `M${x1} 0V${this.height}M${x2} 0V${this.height}`);
    this.handles.forEach((handle, index) => {
      const [left, top] = this.corners[index];
      handle.setAttribute("transform", `translate(${left} ${top})`);
      handle.setAttribute(
        "aria-valuenow",
        Math.min(10000, Math.max(0, Math.round(((left - LEFT) / PER_SECOND) * 1000))),
      );
      handle.setAttribute("aria-valuetext", `${measured(this.corners)}`);
    });
    this.show(measured(this.corners));
  }
}

/** The distance between two corners in words. */
export function measured([[x1, y1], [x2, y2]]) {
  const [time, height] = [milliseconds(x2 - x1), millivolts(y2 - y1)];
  const rate =
    time >= 150 && time <= 3000 ? `, as an interval between beats ${Math.round(60000 / time)} per minute` : "";
  return `${Math.round(time)} ms, ${height.toFixed(2)} mV${rate}`;
}
