// Whether a card may be believed: the checks of custodes.attest.verification, in its order and under its names.

const AHEAD_MAX_MS = 24 * 3600 * 1000;
const CLEANED = "cleaned/";

const check = (name, state, means) => ({ name, state, means });

async function verifyCard(envelope, keys, now) {
  const checks = [];
  let opened;
  try {
    opened = await openEnvelope(envelope, keys);
  } catch (error) {
    return { checks: [check("signature", "failed", `${said(error)}: nothing of it can be believed`)], told: null };
  }
  const { payload, key } = opened;
  if (!opened.asWritten) return { checks: [check("signature", "failed", "the file was changed around what was signed")], told: null };
  checks.push(check("signature", "passed", `${key.name} signed exactly these bytes`));
  let statement;
  try {
    statement = readStatement(payload);
  } catch (error) {
    checks.push(check("statement", "failed", said(error)));
    return { checks, told: null };
  }
  checks.push(check("statement", "passed", "outcomes and reasons sum to the rows"));
  checks.push(timeCheck(statement.predicate, now), ...notesOf(statement.predicate));
  const failed = checks.some((each) => each.state === "failed");
  return { checks, told: failed ? null : { statement, key, payload } };
}

// What is not ours to say is a fault of this page: it must be seen, and must not pass.
function said(error) {
  if (error instanceof Refused) return error.message;
  throw error;
}

// -- the envelope

async function openEnvelope(envelope, keys) {
  if (envelope.length > TABLES.envelopeBytesMax) throw new Refused("the envelope is too long");
  const parsed = parseEnvelope(envelope);
  if (parsed.signatures.length > TABLES.signaturesMax) throw new Refused(`the envelope has more than ${TABLES.signaturesMax} signatures`);
  if (parsed.payloadType !== TABLES.payloadType) throw new Refused("the envelope holds another type of document than is expected here");
  const message = preAuthentication(parsed.payload);
  const found = await firstSigner(keys, parsed.signatures, message);
  if (!found) throw new Refused("no trusted key signed this, or it was changed after it was signed");
  const asWritten = parsed.signatures.length === 1 && equal(envelope, cardBytes(parsed.payload, found.signature, found.key));
  return { payload: parsed.payload, key: found.key, asWritten };
}

function parseEnvelope(envelope) {
  let document;
  try {
    document = JSON.parse(textOf(envelope, "the card"));
    const { payload, payloadType, signatures } = document;
    if (typeof payloadType !== "string" || !Array.isArray(signatures)) throw new Refused("a part is missing");
    return { payload: fromBase64(plain(payload)), payloadType, signatures: signatures.map((each) => fromBase64(plain(each.sig))) };
  } catch {
    throw new Refused("not a DSSE envelope, or damaged");
  }
}

// A verifier of DSSE accepts both alphabets of base64; a card is written with one, which is looked at after the signature.
function plain(text) {
  if (typeof text !== "string") throw new Refused("a part is no text");
  return text.replaceAll("-", "+").replaceAll("_", "/");
}

// What is signed: type and payload, each with its length before it, so that neither can lend bytes to the other.
function preAuthentication(payload) {
  const kind = utf8(TABLES.payloadType);
  return joined(utf8(`DSSEv1 ${kind.length} ${TABLES.payloadType} ${payload.length} `), payload);
}

async function firstSigner(keys, signatures, message) {
  for (const key of keys) {
    for (const signature of signatures) {
      if (await signedBy(key, message, signature)) return { key, signature };
    }
  }
  return null;
}

// The one way in which a card is written: what DSSE leaves open (spaces, order, spelling, hints) is as here.
function cardBytes(payload, signature, key) {
  const document = {
    payload: base64(payload),
    payloadType: TABLES.payloadType,
    signatures: [{ sig: base64(signature), keyid: `${key.name}+${hex(key.keyId)}` }],
  };
  return utf8(`${JSON.stringify(document, null, 1)}\n`);
}

// -- the statement

function readStatement(payload) {
  const statement = readCanonical(payload);
  checkShape(statement, { $ref: "#/$defs/Statement" });
  for (const [rule, holds] of RULES) {
    if (!holds(statement, statement.predicate)) throw new Refused(`it is no card, or its numbers do not add up: ${rule}`);
  }
  return statement;
}

const sum = (counts) => Object.values(counts).reduce((one, other) => one + other, 0n);
const same = (one, other) => one.length === other.length && one.every((each) => other.includes(each));
const sumsOf = (told, outcome) => TABLES.reasons[outcome].reduce((all, reason) => all + (told.reasons[reason] ?? 0n), 0n);
const matchesOf = (told) => [told.matches, ...Object.values(told.matches_by_list)];
const rewritten = (statement) => statement.subject.filter((each) => each.name.startsWith(CLEANED));

// Each as the program says it where it refuses the same.
const RULES = [
  ["a card is about at least one file, and not too many", (all) => all.subject.length >= 1 && all.subject.length <= TABLES.subjectsMax],
  ["a subject has a digest", (all) => all.subject.every((each) => Object.keys(each.digest).length > 0)],
  ["the outcomes do not sum to the rows", (_, told) => sum(told.outcomes) === told.rows],
  ["the reasons do not sum to the rows", (_, told) => sum(told.reasons) === told.rows],
  ["all four outcomes are told", (_, told) => same(Object.keys(told.outcomes), Object.keys(TABLES.reasons))],
  ["a reason is one that custodes knows", (_, told) => Object.keys(told.reasons).every((each) => Object.values(TABLES.reasons).flat().includes(each))],
  ["the reasons of an outcome do not sum to its rows", (_, told) => Object.keys(told.outcomes).every((each) => sumsOf(told, each) === told.outcomes[each])],
  ["a pass compared more rows than there are", (_, told) => Object.values(told.coverage).every((each) => each <= told.rows)],
  ["matches are told as a number, or as fewer than one", (_, told) => matchesOf(told).every((each) => (each.rows === null) !== (each.below === null))],
  ["more rows matched than there are", (_, told) => matchesOf(told).every((each) => each.rows === null || each.rows <= told.rows)],
  ["a card names its lists and its limits", (_, told) => told.lists.length > 0 && told.limits.length > 0],
  ["a measured share lies in its interval", (_, told) => told.detectors.every((each) => each.measured.every((one) => one.low <= one.value && one.value <= one.high))],
  ["a commitment is to all rows", (_, told) => !told.commitment || (told.complete && told.commitment.rows === told.rows)],
  ["more rows left than there were", (_, told) => !told.cleaned || told.cleaned.left <= told.cleaned.rows],
  ["what was written again had other rows", (_, told) => !told.cleaned || (told.complete && told.cleaned.rows === told.rows)],
  ["the files that were written again are not as many as it says", (all, told) => BigInt(rewritten(all).length) === (told.cleaned?.files ?? 0n)],
  ["a file that was written again has a digest of all of it", (all) => rewritten(all).every((each) => "sha256" in each.digest)],
  ["its times are no times, or it was signed before it began", (_, told) => momentOf(told.began) <= momentOf(told.signed)],
];

const MOMENT = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:Z|([+-])(\d\d):(\d\d))$/;

// Microseconds since 1970; NaN, which is neither before nor after anything, for what is no moment.
function momentOf(text) {
  const found = MOMENT.exec(text);
  if (!found) return NaN;
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map(Number);
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const there = [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()];
  const [hours, minutes] = [Number(found[9] ?? 0), Number(found[10] ?? 0)];
  if (year < 1 || hours > 23 || minutes > 59 || there.join() !== [year, month, day, hour, minute, second].join()) return NaN;
  const offset = (found[8] === "-" ? -1 : 1) * (hours * 60 + minutes) * 60_000_000;
  return date.getTime() * 1000 + Number((found[7] ?? "").padEnd(6, "0")) - offset;
}

// -- time, and what weakens it

function timeCheck(told, now) {
  if (momentOf(told.signed) > (now + AHEAD_MAX_MS) * 1000) {
    return check("time", "failed", `it says that it was signed at ${told.signed}, which is still to come`);
  }
  return check("time", "passed", `began ${told.began}, signed ${told.signed}, by the signer's clock`);
}

function notesOf(told) {
  const notes = [];
  const note = (name, means) => notes.push(check(name, "note", means));
  if (told.demonstration) note("authority", "a demonstration: findings were sealed to nobody's key");
  if (told.tool.unsafe.length) note("guards", `guards were switched off: ${told.tool.unsafe.join(", ")}`);
  if (!told.complete) note("coverage", "the run was not finished: rows that were left are in no figure");
  for (const used of told.lists) {
    if (used.stale_since) note("lists", `list ${used.id} was past its age`);
  }
  for (const one of told.detectors) {
    if (one.kind !== "near-hash" && !one.measured.length) note("detectors", `how much ${one.name} finds was not measured`);
  }
  if (!told.commitment) note("rows", "it commits to no outcome of a row: an auditor has nothing to challenge");
  note("reach", `${counted(told.rows - told.outcomes.examined)} of ${counted(told.rows)} rows were not examined`);
  return notes;
}
