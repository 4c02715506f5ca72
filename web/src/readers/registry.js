/** From dropped files to a recording: the format is known by the content, then by the name. */

import { LARGEST_FILE, ReadError, counted, shown } from "./base.js";
import { isXml, readAecg } from "./aecg.js";
import { readCsv } from "./csv.js";
import { isDicom, readDicom } from "./dicom.js";
import { isEdf, readEdf } from "./edf.js";
import { isNpy, readNpy } from "./npy.js";
import { readWfdb } from "./wfdb.js";

const START = 256; // bytes in which every signature lies
const FORMATS = [
  { name: "NumPy array", suffixes: [".npy"], recognises: isNpy, read: readNpy },
  { name: "EDF", suffixes: [".edf", ".bdf"], recognises: isEdf, read: readEdf },
  { name: "DICOM waveform", suffixes: [".dcm", ".dicom"], recognises: isDicom, read: readDicom },
  { name: "HL7 aECG", suffixes: [".xml"], recognises: isXml, read: readAecg },
  { name: "CSV", suffixes: [".csv", ".tsv", ".txt"], recognises: () => false, read: readCsv },
];
const WFDB = { name: "WFDB record", suffixes: [".hea"], read: readWfdb };

const suffix = (name) => name.slice(name.lastIndexOf(".")).toLowerCase();
const isHeader = (file) => suffix(file.name) === ".hea";

/** Refuses files that are too large, by their sizes alone: none of them is read. */
export function checkFiles(files) {
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const named = files.length === 1 ? shown(files[0].name) : counted(files.length, "file");
  if (!files.length) throw new ReadError("There is no file in what was dropped: drop the files of one recording.");
  if (total > LARGEST_FILE) {
    throw new ReadError(
      `${named}: ${megabytes(total)} are too large to be read here; at most ${megabytes(LARGEST_FILE)} are: cut the recording into shorter ones.`,
    );
  }
  if (total === 0) throw new ReadError(`${named}: the file is empty.`);
}

/** The recording in `files`, with `format` and `name`. Raises ReadError, one sentence, for any files that cannot be read. */
export function readRecording(files, options) {
  checkFiles(files);
  const { main, format } = chosen(files);
  try {
    return { ...format.read(main, options, files), format: format.name, name: main.name };
  } catch (error) {
    if (error instanceof ReadError) throw new ReadError(`${shown(main.name)}: ${error.message}`, error.asks);
    throw new ReadError(
      `${shown(main.name)} cannot be read as ${format.name}; the file is damaged, or of a kind that is not read.`,
    );
  }
}

function chosen(files) {
  const headers = files.filter(isHeader);
  if (headers.length > 1)
    throw new ReadError(
      `There are ${headers.length} headers (.hea) among the files: choose the files of one recording.`,
    );
  if (headers.length) return { main: headers[0], format: WFDB };
  if (files.length > 1)
    throw new ReadError(
      `There are ${files.length} files, and none is a header (.hea): choose one file, or the header and the samples of a WFDB record.`,
    );
  const [main] = files;
  const start = main.bytes.subarray(0, START);
  const format =
    FORMATS.find((each) => each.recognises(start)) ?? FORMATS.find((each) => each.suffixes.includes(suffix(main.name)));
  if (!format) {
    const samples = [".dat", ".mat"].includes(suffix(main.name));
    const hint = samples
      ? "samples of a WFDB record need their header: choose the .hea file together with it"
      : `files that are read: .csv, .tsv, .txt, .npy, .hea with .dat, .edf, .bdf, .dcm and .xml (HL7 aECG)`;
    throw new ReadError(`${shown(main.name)} is of an unknown type; ${hint}.`);
  }
  return { main, format };
}
