/** Names of leads and which channels of a file are read as which leads, as in `ecgtune.data.leads` and `channels`. */

import { ReadError, counted, shown } from "./base.js";

export const STANDARD_LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
/** Factors of I and II for the other limb leads (Einthoven; Goldberger for the augmented leads). */
export const FROM_LIMBS = { III: [-1, 1], aVR: [-0.5, -0.5], aVL: [1, -0.5], aVF: [-0.5, 1] };
export const LEFT_OUT = "-";
const UNNAMED = "II"; // the lead of a one-channel file that does not name it
const KNOWN = Object.fromEntries(STANDARD_LEADS.map((name) => [name.toLowerCase(), name]));
Object.assign(KNOWN, {
  mli: "I",
  mlii: "II",
  mliii: "III",
  di: "I",
  dii: "II",
  diii: "III",
  d1: "I",
  d2: "II",
  d3: "III",
});
const DRESSED = /^(?:mdc_ecg_lead_|(?:e[ck]g[ _:.-]?)?(?:lead[ _:.-]?)?)(.*?)(?: \(einthoven\)|[ _-]ref)?$/s;
const OTHER = new RegExp(
  "^(?!.*e[ck]g)(v?[xyz]|v[7-9]|v[1-9]r|(resp|pleth|temp|event|time|elapsed[ _]time|(edf |bdf )?annotation)\\w*.*" +
    "|(ppg|abp|art|cvp|pap|icp|n?bp|s[pa]?o2|(et)?co2|eeg|eog|emg|acc|(air)?flow|snore|hr|pulse|marker|trigger|seconds" +
    "|samples?|status|crc|battery)(?![a-z]).*)$",
);

const plain = (name) => {
  const found = DRESSED.exec(name.normalize("NFKC").toLowerCase().trim().split(/\s+/).join(" "));
  return found ? found[1] : "";
};

/** The standard spelling of the lead that a channel's name means, or null. */
export const knownLead = (name) => (Object.hasOwn(KNOWN, plain(name)) ? KNOWN[plain(name)] : null);

/** Whether a channel's name certainly means none of the standard leads, such as "RESP", "vx", "V7". */
export const otherSignal = (name) => OTHER.test(plain(name));

/** The leads of `wanted` that are neither recorded nor derived from the recorded I and II. */
export function lackingLeads(wanted, recorded) {
  const limbs = recorded.includes("I") && recorded.includes("II");
  return wanted.filter((lead) => !recorded.includes(lead) && !(limbs && Object.hasOwn(FROM_LIMBS, lead)));
}

/**
 * Map each lead to its channel, in the file's order. names: of the channels, null for an unnamed one. without: channels
 * that are not looked at. Appends to `notes` which channels were left out.
 */
export function wantedLeads(names, options, notes, without = new Set()) {
  let found = names.map((name) => (name === null ? null : knownLead(name)));
  if (options.leadNames) {
    found = givenLeads(names, found, options.leadNames);
  } else {
    const all = options.leads && !lackingLeads(options.leads, found.filter(Boolean)).length;
    found = found.map((lead, channel) => {
      const name = names[channel];
      return lead === null && name !== null && (all || otherSignal(name)) ? LEFT_OUT : lead;
    });
    const others = [...new Set(names.filter((name, channel) => found[channel] === LEFT_OUT))];
    for (const channel of without) found[channel] = LEFT_OUT;
    if (others.length) notes.push(`Channels that are no standard lead were left out: ${others.map(shown).join(", ")}.`);
    const left = found.flatMap((lead, channel) => (lead === LEFT_OUT ? [] : [channel]));
    if (left.length === 1 && ["", "ecg", "ekg"].includes((names[left[0]] ?? "").trim().toLowerCase())) {
      found[left[0]] = UNNAMED;
      notes.push(`The file does not name its one lead; it is taken for lead ${UNNAMED}.`);
    }
  }
  const leads = new Map();
  found.forEach((lead, channel) => {
    if (lead === LEFT_OUT) return;
    if (lead === null) {
      const got =
        names[channel] === null ? "has no name" : `is called ${shown(names[channel])}, which is no known lead`;
      throw new ReadError(
        `Channel ${channel + 1} of ${names.length} ${got}: name the leads of the channels in order.`,
        ["leads"],
      );
    }
    if (leads.has(lead)) {
      throw new ReadError(
        `Channels ${leads.get(lead) + 1} and ${channel + 1} are both lead ${lead}: name the leads in order, ${LEFT_OUT} for a channel to leave out.`,
        ["leads"],
      );
    }
    leads.set(lead, channel);
  });
  if (!leads.size) {
    const stated = [...new Set(names.filter((name) => name !== null))].slice(0, 12).map(shown).join(", ");
    throw new ReadError(
      `None of the ${counted(names.length, "channel")} is a standard lead${stated ? ` (${stated})` : ""}: name the leads of the channels in order.`,
      ["leads"],
    );
  }
  return leads;
}

function givenLeads(names, found, given) {
  if (given.length !== names.length) {
    throw new ReadError(
      `The file has ${counted(names.length, "channel")}, but the names stated are ${given.length}: give one for each, ${LEFT_OUT} for a channel to leave out.`,
      ["leads"],
    );
  }
  const leads = given.map((name) => (/^[-\u2212\u2013]$/.test(name) ? LEFT_OUT : knownLead(name)));
  leads.forEach((lead, channel) => {
    if (lead === null) {
      throw new ReadError(
        `The stated lead ${shown(given[channel])} is unknown; allowed are ${STANDARD_LEADS.join(", ")}, and ${LEFT_OUT} for a channel to leave out.`,
        ["leads"],
      );
    }
    const stated = found[channel];
    if (
      stated !== null &&
      lead !== LEFT_OUT &&
      lead !== stated &&
      found.filter((each) => each === stated).length === 1
    ) {
      throw new ReadError(`The file says that channel ${channel + 1} is lead ${stated}, but ${lead} is stated.`, [
        "leads",
      ]);
    }
  });
  return leads;
}

/** The leads of one rate, and that rate. rates: of all channels. Leads of another rate are left out when not needed. */
export function leadsOfOneRate(leads, rates, options, notes) {
  const byRate = new Map();
  for (const [lead, channel] of leads) {
    if (!byRate.has(rates[channel])) byRate.set(rates[channel], []);
    byRate.get(rates[channel]).push(lead);
  }
  for (const [rate, names] of byRate) {
    if (byRate.size === 1 || (options.leads && !lackingLeads(options.leads, names).length)) {
      const others = [...leads.keys()].filter((lead) => !names.includes(lead));
      if (others.length) notes.push(`Leads at another sampling rate were left out: ${others.join(", ")}.`);
      return [new Map(names.map((lead) => [lead, leads.get(lead)])), rate];
    }
  }
  const listed = [...byRate].map(([rate, names]) => `${names.join(", ")} at ${rate} Hz`).join("; ");
  throw new ReadError(
    `The leads have ${byRate.size} sampling rates (${listed}): name the leads of one rate, ${LEFT_OUT} for the others.`,
    ["leads"],
  );
}
