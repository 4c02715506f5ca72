/** The page: files in, drawing and answer out. Reading and computing are the worker's. */

import { labelsOf } from "../model/decision.js";
import { strengths } from "../model/occlusion.js";
import { ReadError } from "../readers/base.js";
import { checkFiles } from "../readers/registry.js";
import { chart, firstLabel, headline, labelRows, stretchSentence, windowTable } from "./answer.js";
import { Caliper } from "./caliper.js";
import { byId, html, percent, seconds } from "./dom.js";
import { facts, verification } from "./facts.js";
import { VIEW_SECONDS, lanesOf } from "./paper.js";
import { Sheet, windowText } from "./sheet.js";

const ZOOM = 1.4; // of one step
const state = {
  id: 0,
  metadata: null,
  files: [],
  recording: null,
  sheet: null,
  answer: null,
  start: 0,
  zoom: 1,
  stretches: [],
  explaining: false,
};
window.ecgtune = state; // for tests
const caliper = new Caliper((text) => (byId("measured").textContent = measuring() ? text : ""));
const measuring = () => byId("measure").getAttribute("aria-pressed") === "true";
const worker = startWorker();

function startWorker() {
  const take = (id) => {
    const element = byId(id);
    const text = element.textContent;
    element.remove(); // its memory is needed
    return text;
  };
  const made = new Worker(URL.createObjectURL(new Blob([take("worker")], { type: "text/javascript" })));
  made.onmessage = ({ data }) => {
    if (data.id === undefined || data.id === state.id || data.of === "open") ON[data.kind](data);
  };
  made.onerror = (event) =>
    ON.failed({ of: "open", message: `The model cannot be opened in this browser (${event.message}).`, asks: [] });
  made.postMessage({ kind: "open", file: take("model").trim(), runtime: take("runtime").trim() });
  return made;
}

const ON = {
  ready({ metadata }) {
    state.metadata = metadata;
    byId("facts").append(...facts(metadata).flatMap(([term, text]) => [html("dt", {}, term), html("dd", {}, text)]));
    byId("verification").append(...verification(metadata));
    byId("label").append(...labelsOf(metadata).map(({ name }, index) => html("option", { value: index }, name)));
    byId("file").disabled = false;
    document.documentElement.dataset.ready = "yes";
    say("Ready.");
    if (state.files.length) read(state.files); // dropped before the model was open
  },

  recording({ recording }) {
    state.recording = recording;
    state.sheet = new Sheet(recording);
    [state.start, state.zoom] = [0, 1];
    const select = byId("layout");
    select.replaceChildren(...state.sheet.layouts.map(([value, name]) => html("option", { value }, name)));
    select.value = state.sheet.layouts[0][0];
    const long = state.sheet.seconds > VIEW_SECONDS + 1e-6;
    byId("times").hidden = !long;
    byId("start").max = Math.max(0, Math.ceil(state.sheet.seconds - VIEW_SECONDS));
    byId("recording").hidden = false;
    byId("along").hidden = byId("why").hidden = byId("windows").hidden = true;
    draw();
  },

  progress({ fraction }) {
    const bar = byId(state.explaining ? "explaining" : "progress");
    bar.hidden = false;
    bar.value = fraction;
  },

  answer(answer) {
    state.answer = answer;
    const { metadata, recording, sheet } = state;
    const windows = `${answer.start.length} window${answer.start.length === 1 ? "" : "s"} of ${seconds(metadata.window)}`;
    byId("about").textContent =
      `${recording.name}: ${recording.format}, ${recording.leads.join(", ")}, ${seconds(sheet.seconds)} at ${Number(recording.samplingRate.toFixed(3))} Hz; ${windows}`;
    byId("headline").textContent = headline(metadata, answer.pooled);
    byId("labels").classList.toggle("largest", metadata.task === "multiclass");
    byId("labels").tBodies[0].replaceChildren(...labelRows(metadata, answer.pooled));
    byId("notes").replaceChildren(...[...recording.notes, ...answer.notes].map((text) => html("li", {}, text)));
    byId("answer").hidden = byId("why").hidden = byId("windows").hidden = false;
    byId("along").hidden = byId("times").hidden;
    byId("which").hidden = labelsOf(metadata).length < 2;
    byId("label").value = firstLabel(metadata, answer.pooled);
    byId("windows").open = false;
    finished();
    say(`${recording.name}: answered.`);
    draw();
    document.documentElement.dataset.answered = state.id;
  },

  explained({ stretches, label }) {
    const { name, column } = labelsOf(state.metadata)[label];
    const { start, probability } = state.answer;
    state.stretches = strengths(
      stretches.map((each) => ({
        start: start[each.window] + each.start,
        end: start[each.window] + each.end,
        fall: each.fall,
      })),
    );
    byId("found").textContent = stretchSentence(
      name,
      probability.map((row) => row[column]),
      stretches,
      (window) => start[window],
    );
    state.explaining = false;
    finished();
    draw();
  },

  failed({ message, asks, of }) {
    finished();
    if (of === "read") clear();
    say("");
    const error = byId("error");
    error.textContent = message;
    error.hidden = false;
    if (of === "read" && asks.length) ask(asks);
    document.documentElement.dataset.failed = state.id;
  },
};

function say(text) {
  byId("status").textContent = text;
}

/** Hide the bars of progress. */
function finished() {
  for (const bar of [byId("progress"), byId("explaining")]) {
    bar.hidden = true;
    bar.value = 0;
  }
}

/** Take away what belongs to an earlier recording. */
function clear() {
  Object.assign(state, { recording: null, sheet: null, answer: null, stretches: [], explaining: false });
  byId("answer").hidden = byId("recording").hidden = true;
  byId("found").textContent = "";
}

function read(files, options = {}) {
  const again = files === state.files && Object.keys(options).length > 0;
  state.id++;
  state.files = files;
  byId("error").hidden = true;
  if (!again) {
    byId("ask").hidden = true;
    byId("leads").value = byId("axes").value = ""; // rate and unit may be those of the next file
  }
  clear();
  if (!state.metadata) return say("The recording is read when the model is open …");
  try {
    checkFiles(files);
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    return ON.failed({ message: error.message, asks: [], of: "read" });
  }
  say(`Reading ${files.map(({ name }) => name).join(", ")} …`);
  worker.postMessage({ kind: "read", id: state.id, files, options });
}

/** Show the questions about facts that the file does not state. */
function ask(asks) {
  const fields = { rate: "rate", unit: "unit", leads: "leads", layout: "axes" };
  byId("ask").hidden = false;
  byId("array").hidden = !state.files.some(({ name }) => name.toLowerCase().endsWith(".npy"));
  byId(fields[asks[0]]).focus();
}

function answers() {
  const rate = byId("rate").value.trim().replace(",", ".");
  const leads = byId("leads").value.trim();
  return {
    samplingRate: rate ? Number(rate) : null,
    unit: byId("unit").value || null,
    leadNames: leads ? leads.split(/[\s,;]+/) : null,
    layout: byId("axes").value || null,
  };
}

function draw() {
  const { sheet, answer, metadata, start } = state;
  if (!sheet) return;
  const label = labelsOf(metadata)[Number(byId("label").value) || 0];
  const lanes = lanesOf(metadata.window, metadata.step);
  const windows = (answer?.start ?? []).map((from, index) => {
    const value = answer.probability[index][label.column];
    const largest = answer.probability[index].every((each) => each <= value);
    return {
      start: from,
      end: from + metadata.window,
      lane: index % (lanes || 1),
      text: windowText(label.name, value),
      value: percent(value),
      above: label.threshold === null ? largest : value >= label.threshold,
    };
  });
  const drawing = sheet.draw({ layout: byId("layout").value, start, windows, lanes, stretches: state.stretches });
  const overlay = measuring() ? caliper.attach(Number(drawing.dataset.height)) : null;
  byId("sheet").replaceChildren(drawing, ...(overlay ? [overlay] : []));
  byId("sheet").style.width = `${100 * state.zoom}%`;
  const end = Math.min(sheet.seconds, start + VIEW_SECONDS);
  byId("start").value = start;
  byId("start").setAttribute("aria-valuetext", `${seconds(start)} to ${seconds(end)} of ${seconds(sheet.seconds)}`);
  const { name, threshold } = label;
  byId("explain").textContent = state.explaining ? "Stop" : `Find the stretch that drove ${name}`;
  if (answer) {
    byId("axis").textContent =
      `0 to ${seconds(sheet.seconds)}, probability 0 to 1${threshold === null ? "" : "; dashed: the threshold"}; the shaded part is on the sheet`;
    byId("along-title").textContent = `Probability of ${label.name} along the recording`;
    byId("chart").replaceChildren(
      chart(label, answer, metadata.window, sheet.seconds, [start, end], (second) => go(second - VIEW_SECONDS / 2)),
    );
  }
}

function go(second) {
  const last = Math.max(0, Math.ceil(state.sheet.seconds - VIEW_SECONDS));
  state.start = Math.min(last, Math.max(0, Math.round(second)));
  draw();
}

function zoom(factor) {
  state.zoom = factor === null ? 1 : Math.min(8, Math.max(0.5, state.zoom * factor));
  draw();
}

function explain() {
  if (state.explaining) {
    state.id++; // the worker stops
    worker.postMessage({ kind: "stop", id: state.id });
    state.explaining = false;
    byId("found").textContent = "";
    finished();
    return draw();
  }
  const { answer, metadata, start } = state;
  const inView = (from) => from < start + VIEW_SECONDS && from + metadata.window > start;
  const windows = answer.start.flatMap((from, index) => (inView(from) ? [index] : []));
  if (!windows.length) return (byId("found").textContent = "There is no window on this sheet.");
  state.id++;
  state.explaining = true;
  state.stretches = [];
  byId("found").textContent = "Replacing stretches …";
  draw();
  worker.postMessage({ kind: "explain", id: state.id, windows, label: Number(byId("label").value) });
}

/** Controls. */
const on = (id, event, action) => byId(id).addEventListener(event, action);
on("file", "change", ({ target }) => {
  if (target.files.length) read([...target.files]);
  target.value = ""; // the same file can be chosen again
});
on("ask", "submit", (event) => {
  event.preventDefault();
  const given = answers();
  if (given.samplingRate !== null && !(given.samplingRate > 0 && given.samplingRate < 1e6)) {
    return ON.failed({
      message: "The sampling rate must be a number above 0, such as 500 (Hz).",
      asks: ["rate"],
      of: "read",
    });
  }
  read(state.files, given);
});
on("layout", "change", draw);
on("label", "change", () => {
  if (state.explaining) explain(); // stops
  state.stretches = [];
  byId("found").textContent = "";
  draw();
});
on("smaller", "click", () => zoom(1 / ZOOM));
on("larger", "click", () => zoom(ZOOM));
on("fit", "click", () => zoom(null));
on("earlier", "click", () => go(state.start - VIEW_SECONDS));
on("later", "click", () => go(state.start + VIEW_SECONDS));
on("start", "input", ({ target }) => go(Number(target.value)));
on("print", "click", () => window.print());
on("explain", "click", explain);
on("measure", "click", () => {
  byId("measure").setAttribute("aria-pressed", String(!measuring()));
  byId("measured").textContent = "";
  draw();
  if (measuring()) caliper.focus();
});
on("windows", "toggle", ({ target }) => {
  if (target.open)
    target.querySelector(".scroll").replaceChildren(windowTable(state.metadata, state.answer, state.metadata.window));
});
on("paper", "keydown", (event) => {
  const keys = {
    "+": () => zoom(ZOOM),
    "-": () => zoom(1 / ZOOM),
    0: () => zoom(null),
    PageUp: () => go(state.start - VIEW_SECONDS),
    PageDown: () => go(state.start + VIEW_SECONDS),
    Home: () => go(0),
    End: () => go(Infinity),
  };
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

let depth = 0; // of elements that a file is dragged over
const dragged = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (dragged(event)) byId("over").hidden = ++depth === 0;
});
document.addEventListener("dragleave", (event) => {
  if (dragged(event)) byId("over").hidden = --depth <= 0;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  byId("over").hidden = true;
  const files = [...(event.dataTransfer?.files ?? [])];
  if (files.length) read(files);
});
