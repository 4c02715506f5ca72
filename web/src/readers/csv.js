/** CSV of one recording: samples in rows, leads in columns, as `ecgtune.io.readers.csv_files` reads it. */

import {
  NUMBER,
  ReadError,
  checkSize,
  counted,
  fittingLeads,
  makeRecording,
  millivoltFactor,
  shown,
  statedRate,
} from "./base.js";
import { wantedLeads } from "./leads.js";
import { checkTimes } from "./csv-times.js";

const SPECIAL = /^[+-]?(nan|inf|infinity)$/i;
const GAPS = new Set(["", "nan", "NaN", "NAN", "NA", "N/A", "#N/A", "null"]);
const WITH_COMMA = /^[+-]?\d*,\d+([eE][+-]?\d+)?$/;
const WITH_POINT = /^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$/;
const SAMPLE = 1 << 16; // characters by which a dialect is known
const MOST_COLUMNS = 1024;

export function readCsv(file, options) {
  const text = textOf(file.bytes);
  const dialect = sniffed(text.slice(0, SAMPLE), text.length <= SAMPLE);
  const lines = new Lines(text, dialect);
  const first = lines.next();
  if (first === null)
    throw new ReadError("The CSV file holds no rows; samples in rows and leads in columns are needed.");
  const cells = split(first, dialect).slice(0, dialect.width);
  if (cells.length > MOST_COLUMNS || windowNames(cells)) {
    throw new ReadError(
      `The first row has ${cells.length} values, as in a file of windows; one recording is needed, with samples in rows and leads in columns.`,
    );
  }
  const number = (cell) => NUMBER.test(cell.replace(dialect.decimal, "."));
  const named = !cells.every((cell) => number(cell) || GAPS.has(cell));
  const names = cells.map((cell) => (named && cell ? cell : null));
  const notes = [];
  let leads = wantedLeads(names, options, notes);
  const factor = millivoltFactor(null, options);
  const rate = statedRate(null, options);
  if (!named) lines.reset();
  checkTimes(
    lines.sample(1001).map((line) => split(line, dialect)),
    names,
    new Set(leads.values()),
    dialect,
    rate,
  );

  const most = lines.count();
  leads = fittingLeads(leads, most, options);
  const channels = [...leads.values()];
  const signal = channels.map(() => new Float32Array(most));
  let row = 0;
  for (let line = lines.next(); line !== null; line = lines.next()) {
    if (!line && cells.length > 1) continue; // in a single column an empty line is a gap
    const found = split(line, dialect);
    if (found.length !== dialect.columns) {
      throw new ReadError(
        `Row ${lines.number} has ${counted(found.length, "column")}, but the first row has ${dialect.columns}; every row needs the same columns.`,
      );
    }
    for (let lead = 0; lead < channels.length; lead++) {
      signal[lead][row] =
        value(found[channels[lead]], dialect, lines.number, names[channels[lead]] ?? `number ${channels[lead] + 1}`) *
        factor;
    }
    row++;
  }
  checkSize(leads.size, row);
  return makeRecording(
    leads.keys(),
    signal.map((each) => each.subarray(0, row)),
    rate,
    notes,
  );
}

function value(cell, dialect, row, name) {
  const text = dialect.decimal === "," ? cell.replace(",", ".") : cell;
  const found = Number(text);
  if (text !== "" && found === found && (text.charCodeAt(0) !== 48 || NUMBER.test(text))) return found; // not 0x10
  if (GAPS.has(text)) return NaN;
  if (SPECIAL.test(text)) return NaN;
  throw new ReadError(
    `Row ${row}, column ${shown(name)}: ${shown(cell)} is no number; every sample must be one, such as -0.125.`,
  );
}

/** Whether column names are those of a file of windows, such as signal_0, signal_1, ... */
function windowNames(cells) {
  const prefixes = cells.map((cell) => /^(.*?)\d{1,9}$/.exec(cell)?.[1]);
  return (
    cells.length > 24 &&
    prefixes.filter((prefix) => prefix !== undefined && prefix === prefixes[0]).length > cells.length / 2
  );
}

function textOf(bytes) {
  const starts = (...mark) => mark.every((byte, place) => bytes[place] === byte);
  if (starts(0x50, 0x4b, 3, 4) || starts(0xd0, 0xcf, 0x11, 0xe0)) {
    throw new ReadError("The file is a spreadsheet's own file: save its sheet as CSV and choose that file.");
  }
  if (starts(0x1f, 0x8b)) throw new ReadError("The file is compressed (gzip): unpack it and choose the unpacked file.");
  const encoding = starts(0xff, 0xfe) ? "utf-16le" : starts(0xfe, 0xff) ? "utf-16be" : "utf-8";
  let text;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    text = "\0";
  }
  if (text.includes("\0"))
    throw new ReadError("The file is not text in UTF-8 or UTF-16; it is no CSV file, or damaged.");
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

/** The lines of a text below `sep=;`, without those at the end that hold nothing but delimiters. */
class Lines {
  constructor(text, dialect) {
    this.text = text;
    this.end = text.length;
    while (this.end && ["\n", " ", dialect.delimiter].includes(text[this.end - 1])) this.end--;
    const rest = text.indexOf("\n", this.end);
    this.end = rest < 0 ? text.length : rest;
    while (this.end && text[this.end - 1] === "\n") this.end--;
    this.start = dialect.skip ? text.indexOf("\n") + 1 : 0;
    this.skipped = dialect.skip;
    this.reset();
  }

  reset() {
    this.place = this.start;
    this.number = this.skipped;
  }

  next() {
    if (this.place >= this.end) return null;
    let stop = this.text.indexOf("\n", this.place);
    if (stop < 0 || stop > this.end) stop = this.end;
    const line = this.text.slice(this.place, stop);
    this.place = stop + 1;
    this.number++;
    return line;
  }

  /** The next lines, to which `next` comes again. */
  sample(count) {
    const [place, number, found] = [this.place, this.number, []];
    for (let line = this.next(); line !== null && found.length < count; line = this.next()) found.push(line);
    [this.place, this.number] = [place, number];
    return found;
  }

  count() {
    let count = this.place < this.end ? 1 : 0;
    for (
      let place = this.text.indexOf("\n", this.place);
      place >= 0 && place < this.end;
      place = this.text.indexOf("\n", place + 1)
    )
      count++;
    return count;
  }
}

/** The cells of a line, without the spaces around. */
export function split(line, { delimiter }) {
  if (!line.includes('"')) return line.split(delimiter).map((cell) => cell.trim());
  const cells = [];
  let [cell, quoted] = ["", false];
  for (let place = 0; place < line.length; place++) {
    const char = line[place];
    if (quoted) {
      if (char !== '"') cell += char;
      else if (line[place + 1] === '"') cell += line[++place];
      else quoted = false;
    } else if (char === '"' && !cell.trim()) [cell, quoted] = ["", true];
    else if (char === delimiter) {
      cells.push(cell.trim());
      cell = "";
    } else cell += char;
  }
  return [...cells, cell.trim()];
}

/** Delimiter, decimal mark, lines to skip (`sep=;`), columns of the first row, and those of them that are not blank. */
export function sniffed(text, whole) {
  const stated = /^"?sep=(.)"?\n/i.exec(text);
  const rest = stated ? text.slice(stated[0].length) : text;
  let lines = rest.split("\n");
  if (!whole && lines.length > 1) lines = lines.slice(0, -1);
  lines = lines.filter(Boolean);
  const rowsBy = (delimiter) => lines.map((line) => split(line, { delimiter }));
  const delimiter = stated ? stated[1] : chosenDelimiter(lines, rowsBy);
  const rows = rowsBy(delimiter);
  const inside = rows.flat();
  const comma =
    delimiter !== "," && inside.some((cell) => WITH_COMMA.test(cell)) && !inside.some((cell) => WITH_POINT.test(cell));
  const columns = rows[0]?.length ?? 0;
  const used = rows.reduce((most, row) => Math.max(most, row.findLastIndex(Boolean) + 1), 0);
  return { delimiter, decimal: comma ? "," : ".", skip: stated ? 1 : 0, columns, width: Math.min(columns, used) };
}

/** The mark that divides every line into the same number of cells, else the most frequent one of the first line. */
function chosenDelimiter(lines, rowsBy) {
  const rows = Object.fromEntries(["\t", ";", ","].map((mark) => [mark, rowsBy(mark)]));
  const widths = (mark) => new Set(rows[mark].map((row) => row.length));
  for (const mark of ["\t", ";", ","]) {
    const found = widths(mark);
    if (found.size === 1 && !found.has(1)) return mark;
  }
  if (widths(";").size === 1 && decimals(lines)) return ";";
  return [",", ";", "\t"].reduce((best, mark) =>
    (rows[mark][0]?.length ?? 0) > (rows[best][0]?.length ?? 0) ? mark : best,
  );
}

/** Whether the lines are one column of numbers with a decimal comma, below its name. */
function decimals([first, ...lines]) {
  return (
    Boolean(first) && !first.includes(",") && lines.length > 0 && lines.every((line) => WITH_COMMA.test(line.trim()))
  );
}
