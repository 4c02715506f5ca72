/** A small XML reader for ECG files: elements by local name, attributes, text. Entities of a document are refused. */

import { ReadError, latin1 } from "./base.js";

const MOST_ELEMENTS = 50_000;
const NAMED = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
const ATTRIBUTE = /([^\s=/>"']+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;
const DAMAGED = "The file is no well-formed XML; it is damaged or cut short, copy it again.";

const local = (name) => name.slice(name.lastIndexOf(":") + 1);
const unescaped = (text) =>
  text.replace(/&(#x?[0-9a-fA-F]+|\w+);/g, (all, name) => {
    if (name[0] !== "#") return Object.hasOwn(NAMED, name) ? NAMED[name] : all;
    const code = name[1] === "x" ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });

export class Element {
  constructor(name, attributes) {
    Object.assign(this, { name, attributes, children: [], text: "" });
  }

  /** The first element on a path of names, or undefined. */
  child(path) {
    return path.split("/").reduce((found, name) => found?.children.find((each) => each.name === name), this);
  }

  /** All elements on a path of names. */
  all(path) {
    return path
      .split("/")
      .reduce((found, name) => found.flatMap((each) => each.children.filter((child) => child.name === name)), [this]);
  }

  attribute(name) {
    return (this.attributes[name] ?? "").trim();
  }
}

/** The text of a document in the encoding that it declares, or Latin-1 where it is not in that. */
export function xmlText(bytes) {
  const mark = (...values) => values.every((value, place) => bytes[place] === value);
  let encoding = mark(0xff, 0xfe) ? "utf-16le" : mark(0xfe, 0xff) ? "utf-16be" : null;
  encoding ??=
    /^[\s\xef\xbb\xbf\u00bb\u00bf]*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']/.exec(
      latin1(bytes.subarray(0, 200)),
    )?.[1] ?? "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return latin1(bytes);
  }
}

/** The root element of a document. */
export function parseXml(text) {
  const root = new Element("", {});
  const open = [root];
  let [place, count] = [0, 0];
  while (place < text.length) {
    const top = open.at(-1);
    const start = text.indexOf("<", place);
    if (start < 0) break;
    if (start > place && open.length > 1) top.text += unescaped(text.slice(place, start));
    if (text.startsWith("<!--", start)) place = after(text, "-->", start + 4);
    else if (text.startsWith("<![CDATA[", start)) {
      place = after(text, "]]>", start + 9);
      top.text += text.slice(start + 9, place - 3);
    } else if (text.startsWith("<?", start)) place = after(text, "?>", start + 2);
    else if (text.startsWith("<!", start)) {
      place = after(text, ">", start + 2);
      const bracket = text.slice(start, place).indexOf("[");
      if (bracket >= 0)
        throw new ReadError(
          "The XML file declares entities or a document type of its own, which are not read: write it without them.",
        );
    } else {
      place = tagEnd(text, start + 1);
      const inside = text.slice(start + 1, place - 1);
      if (inside[0] === "/") {
        if (open.length < 2 || open.pop().name !== local(inside.slice(1).trim())) throw new ReadError(DAMAGED);
        continue;
      }
      if (++count > MOST_ELEMENTS)
        throw new ReadError(`The XML file has over ${MOST_ELEMENTS} elements; a recording has fewer, it is damaged.`);
      const name = /^[^\s/]+/.exec(inside)?.[0];
      if (!name) throw new ReadError(DAMAGED);
      const attributes = {};
      for (const [, key, double, single] of inside.matchAll(ATTRIBUTE))
        attributes[local(key)] = unescaped(double ?? single);
      const element = new Element(local(name), attributes);
      top.children.push(element);
      if (!inside.endsWith("/")) open.push(element);
    }
  }
  if (open.length > 1 || root.children.length !== 1) throw new ReadError(DAMAGED);
  return root.children[0];
}

function after(text, mark, from) {
  const found = text.indexOf(mark, from);
  if (found < 0) throw new ReadError(DAMAGED);
  return found + mark.length;
}

/** The place after the ">" of a tag, which may also be inside a quoted value. */
function tagEnd(text, from) {
  let quote = null;
  for (let place = from; place < text.length; place++) {
    const char = text[place];
    if (quote) quote = char === quote ? null : quote;
    else if (char === '"' || char === "'") quote = char;
    else if (char === ">") return place + 1;
  }
  throw new ReadError(DAMAGED);
}
