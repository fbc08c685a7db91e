// What a card says, in sentences and tables. Words of strangers become text and nothing else: no markup is ever made of a string.

const ROWS_MAX = 200;
const TEXT_MAX = 4096;

// Characters that would not be seen, or that turn the line around, are written out.
function visible(text) {
  const letters = Array.from(text.slice(0, 2 * TEXT_MAX));
  const cut = letters.length > TEXT_MAX || text.length > 2 * TEXT_MAX;
  return writtenOut(letters.slice(0, TEXT_MAX).join("")) + (cut ? " [cut here]" : "");
}

function writtenOut(text) {
  return text.replace(/[\p{C}\p{Z}]/gu, (letter) => (letter === " " ? letter : `\\u{${letter.codePointAt(0).toString(16).toUpperCase()}}`));
}

// An element. Children are elements or text; text goes in as text.
function el(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child instanceof Node ? child : visible(String(child)));
  }
  return made;
}

const part = (title, lead, ...children) => el("section", "part", el("h3", "", title), lead ? el("p", "lead", lead) : null, ...children);
const code = (text) => el("code", "", text);
const words = (name) => name.replaceAll("_", " ");

function share(count, rows) {
  if (rows === 0n) return "–";
  const thousandths = Number((count * 100000n) / rows) / 1000;
  if (count > 0n && thousandths < 0.01) return "under 0.01 %";
  if (count < rows && thousandths > 99.99) return "over 99.99 %";
  return `${thousandths.toFixed(thousandths < 1 && count > 0n ? 2 : 1)} %`;
}

function table(heads, rows, kinds = []) {
  const cells = (row) => row.map((cell, at) => el("td", kinds[at] ?? "", cell));
  const body = rows.slice(0, ROWS_MAX).map((row) => el("tr", "", cells(row)));
  const head = el("tr", "", heads.map((each, at) => {
    const cell = el("th", kinds[at] ?? "", each);
    cell.scope = "col";
    return cell;
  }));
  const scroll = el("div", "scroll", el("table", "", el("thead", "", head), el("tbody", "", body)));
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", heads.join(", "));
  const more = rows.length - ROWS_MAX;
  return more > 0 ? el("div", "", scroll, el("p", "more", `and ${many(more, "more row")}, which the card file names`)) : scroll;
}

function bar(count, rows, kind) {
  const filled = el("span", `fill ${kind}`);
  filled.style.width = rows === 0n ? "0" : `${Number((count * 10000n) / rows) / 100}%`;
  const whole = el("span", "bar", filled);
  whole.setAttribute("aria-hidden", "true");
  return whole;
}

function showStatement({ statement, key, payload }) {
  const told = statement.predicate;
  return [
    summary(statement, key),
    outcomes(told),
    matches(told),
    limits(told),
    lists(told),
    coverage(told),
    ...(told.detectors.length ? [detectors(told)] : []),
    cleaned(told),
    commitment(told),
    subjects(statement),
    settings(told),
    raw(payload),
  ].filter(Boolean);
}

function summary(statement, key) {
  const told = statement.predicate;
  const figures = [
    [counted(told.rows), "rows"],
    [share(told.outcomes.examined, told.rows), "examined"],
    [told.lists.length, told.lists.length === 1 ? "list" : "lists"],
    [spoken(told.matches), "matched"],
  ];
  return el("section", "part first",
    el("p", "eyebrow", "What the card says"),
    el("h2", "dataset", told.dataset || "a dataset without a name"),
    el("p", "lead", `${key.name} states that ${told.tool.name} ${told.tool.version} worked through ${many(told.rows, "row")} of it, in run ${told.run}, `,
      told.complete ? "to the end." : "and was not finished."),
    el("dl", "figures", figures.map(([number, name]) => el("div", "", el("dt", "", name), el("dd", "", number)))),
    table(["", ""], [
      ["Signed", told.signed],
      ["Began", told.began],
      ["Signer's key", code(`${key.name}+${hex(key.keyId)}`)],
      ["Decoders confined by", told.tool.confinement],
      ["Findings sealed to", told.recipients.length ? told.recipients.join(", ") : "nobody"],
    ], ["head", ""]));
}

const OUTCOMES = {
  examined: "decoded, digested and compared",
  unavailable: "could not be had: a dead link, a refusal, a time limit",
  undecodable: "was had, and is no image that could be decoded",
  failed: "went wrong on the signer's side",
};

function outcomes(told) {
  const names = Object.keys(OUTCOMES);
  const stacked = el("div", "stack", names.filter((name) => told.outcomes[name] > 0n).map((name) => {
    const piece = el("span", `fill ${name}`);
    piece.style.flexGrow = String(Number((told.outcomes[name] * 10000n) / told.rows) + 1);
    return piece;
  }));
  stacked.setAttribute("aria-hidden", "true");
  const rows = names.map((name) => [el("span", `dot ${name}`), el("strong", "", name), counted(told.outcomes[name]), share(told.outcomes[name], told.rows), OUTCOMES[name]]);
  const reasons = names.flatMap((name) => TABLES.reasons[name].filter((each) => told.reasons[each]).map((each) => [name, words(each), counted(told.reasons[each]), bar(told.reasons[each], told.rows, name), share(told.reasons[each], told.rows)]));
  return part("How each row ended", "Every row ended in exactly one way, and they add up to all rows.", stacked,
    table(["", "Outcome", "Rows", "Share", "Meaning"], rows, ["mark", "", "number", "number", ""]),
    el("details", "", el("summary", "", `${many(reasons.length, "reason")}, one by one`),
      table(["Outcome", "Reason", "Rows", "", "Share"], reasons, ["", "", "number", "wide", "number"])));
}

function spoken(matched) {
  return matched.rows === null ? `fewer than ${counted(matched.below)}` : counted(matched.rows);
}

function matches(told) {
  const rows = Object.entries(told.matches_by_list).map(([list, matched]) => [code(list), spoken(matched)]);
  const all = told.matches.rows === null
    ? `Fewer than ${counted(told.matches.below)} rows matched a list, perhaps none: so few are not told as a number, since they could name a row.`
    : `${many(told.matches.rows, "row")} matched a list. Which ones is sealed to the recipients, and stands nowhere here.`;
  return part("What matched", all, rows.length ? table(["List", "Rows that matched"], rows, ["", "number"]) : null);
}

function lists(told) {
  const rows = told.lists.map((used) => [code(used.id), used.holder || "not said", code(used.version), used.stale_since ? `past its age since ${used.stale_since}` : "within its age"]);
  return part("Lists it was compared with", "A version commits to what a list held without telling it.", table(["List", "Holder", "Version", "Age when the run began"], rows));
}

const PASSES = {
  columns: "digests and links that the dataset itself records",
  bytes: "the images, fetched or read, decoded and digested",
  similar: "photos near confirmed ones, by vectors",
};

function coverage(told) {
  const rows = Object.entries(told.coverage).map(([pass, count]) => [words(pass), PASSES[pass] ?? "", counted(count), bar(count, told.rows, "examined"), share(count, told.rows)]);
  const ran = told.passes.length ? `Passes that were run: ${told.passes.join(", ")}.` : "No pass was run.";
  return part("What was looked at", ran, rows.length ? table(["Pass", "Looks at", "Rows compared", "", "Share"], rows, ["", "", "number", "wide", "number"]) : null);
}

function detectors(told) {
  return part("What found near copies and similar photos", "Beside exact digests. Shares are measured, with the interval that holds the true one in 95 of 100 cases.", told.detectors.map((each) => {
    const facts = [["Kind", each.kind], ["Version", each.version], ["From", each.origin], ["Trained on", each.training_data], ["Licence", each.licence], ["Known findings", each.known_findings.join("; ")]];
    const measured = each.measured.map((one) => [one.of, `${(one.value * 100).toFixed(1)} %`, `${(one.low * 100).toFixed(1)} – ${(one.high * 100).toFixed(1)} %`, counted(one.on), one.at, one.what]);
    return el("div", "detector", el("h4", "", each.name), table(["", ""], facts.filter(([, fact]) => fact), ["head", ""]),
      measured.length ? table(["Of", "Value", "Interval", "Cases", "At", "Measured on"], measured, ["", "number", "number", "number", "", ""]) : el("p", "more", "Nobody measured how much it finds."));
  }));
}

function cleaned(told) {
  if (!told.cleaned) return null;
  const { rows, left, crowd, files } = told.cleaned;
  return part("Written again", `${many(left, "row")} of ${counted(rows)} left, and ${many(files, "file")} were written without them. At most one in ${counted(crowd)} of those that left had matched; why a row left is told nowhere.`);
}

function commitment(told) {
  if (!told.commitment) return part("Commitment", "The card does not commit to single rows: rows cannot be challenged under it.");
  return part("Commitment", `The signer is bound to one outcome for each of ${many(told.commitment.rows, "row")}, without telling it. An auditor can ask for any of them.`,
    table(["", ""], [["Kind", code(told.commitment.type)], ["Root", code(told.commitment.root)]], ["head", ""]));
}

function limits(told) {
  return part("What this card cannot show", "As the signer states it:", el("ul", "limits", told.limits.map((each) => el("li", "", each))));
}

function subjects(statement) {
  const rows = statement.subject.flatMap((each) => Object.entries(each.digest).map(([kind, digest], at) => [at ? "" : each.name, kind, code(digest)]));
  return part("Files it is about", `${many(statement.subject.length, "file")}. Compare them with yours: custodes verify CARD --key FILE --dataset PATH.`,
    el("details", "", el("summary", "", "Names and digests"), table(["File", "Digest", ""], rows)));
}

function settings(told) {
  const rows = Object.entries(told.settings).map(([name, value]) => [code(name), value]);
  return rows.length ? part("Settings", "As the run had them.", el("details", "", el("summary", "", many(rows.length, "setting")), table(["Setting", "Value"], rows))) : null;
}

function raw(payload) {
  const text = new TextDecoder().decode(payload.subarray(0, 1 << 20));
  const shown = el("pre", "");
  shown.textContent = writtenOut(text);
  return part("As it was signed", payload.length > 1 << 20 ? "The first MiB." : "", el("details", "", el("summary", "", "The statement, byte for byte"), shown));
}
