/** Elements of the page. */

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const html = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

/** A probability as text: three digits, and never 0 or 1 for one that only rounds to it. */
export function percent(value) {
  if (value > 0 && value < 0.001) return "< 0.001";
  if (value < 1 && value > 0.999) return "> 0.999";
  return value.toFixed(3);
}

/** Seconds as "12.5 s". */
export const seconds = (value) => `${Number(value.toFixed(2))} s`;
