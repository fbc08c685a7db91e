// Whether a card stands in a log that the reader trusts: by the proof beside it, or by the files of the log that serves this page.

const FILE_OF_LOG_BYTES_MAX = 1 << 18;

async function logChecks(card, policy, proof) {
  const unseen = "whether others were shown the same card is not known";
  if (!policy && !proof) return [check("log", "note", `no log was looked at: ${unseen}`)];
  if (!policy) return [check("log", "note", `the proof was not looked at: it counts by a log policy, which names the log and the witnesses that you trust; ${unseen}`)];
  const checks = [];
  await looked(checks, card, policy, proof).catch((error) => checks.push(check(error.name, "failed", said(error.cause))));
  return checks.length ? checks : [check("log", "note", `there is no proof, and no log serves this page: ${unseen}`)];
}

// Adds a check for each thing that was looked at; what is thrown says at which it ended.
async function looked(checks, card, policyBytes, proofBytes) {
  const passed = (name, means, state = "passed") => checks.push(check(name, state, means));
  const policy = await during("policy", () => parsePolicy(policyBytes));
  const found = proofBytes ? await during("entry", () => parseProof(proofBytes)) : await during("log", () => fromLog(card));
  if (!found) return;
  const checkpoint = await during("log", () => verifyCheckpoint(found.note, policy));
  passed("log", `${checkpoint.origin} signed a checkpoint of ${counted(checkpoint.size)} entries`);
  const byTime = enoughBy(policy, checkpoint.witnesses);
  const names = [...checkpoint.witnesses.keys()].map((key) => key.name).sort().join(", ");
  if (byTime === null) passed("witnesses", "the policy asks for no witness: the log could show another history to others", "note");
  else passed("witnesses", `${names} saw this and nothing that contradicts it; enough of them by ${secondText(byTime)}`);
  await during("entry", () => verifyEntry(card, found, checkpoint));
  passed("entry", `this card is entry ${counted(found.index)} of ${counted(checkpoint.size)}`);
  passed("history", "this page remembers no log: whether it goes on from what you saw before, only the command can say", "note");
}

async function during(name, step) {
  try {
    return await step();
  } catch (cause) {
    throw { name, cause };
  }
}

async function verifyEntry(card, found, checkpoint) {
  const hashes = found.hashes ?? (await proofFromTiles(found.index, checkpoint.size, fromTile));
  await verifyInclusion(await leafHash(await entryOf(card)), found.index, hashes, checkpoint);
}

// How a log writes a card down: by the digest of its file, which is written in one way only.
async function entryOf(card) {
  return utf8(`{"sha256":"${hex(await sha256(card))}","type":"custodes-card-1"}`);
}

// By when enough witnesses had signed, by their own clocks; null where none must.
function enoughBy(policy, signatures) {
  if (policy.quorum === "none") return null;
  const seen = [...signatures].map(([key, signature]) => [key, cosignedAt(signature)]).sort(([, one], [, other]) => (one < other ? -1 : 1));
  const before = new Set();
  for (const [key, time] of seen) {
    before.add(key);
    if (reached(policy, policy.quorum, before)) return time;
  }
  return null;
}

function secondText(seconds) {
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? `second ${seconds} since 1970` : date.toISOString().replace(".000Z", "+00:00");
}

// -- the log that serves this page

async function fromLog(card) {
  const note = location.protocol.startsWith("http") ? await fetched("checkpoint", NOTE_BYTES_MAX) : null;
  if (!note) return null;
  const name = hex(await leafHash(await entryOf(card)));
  const told = await fetched(`index/${name.slice(0, 2)}/${name}`, 64); // nobody signed it: the tree must agree
  if (!told) throw new Refused("the log that serves this page says of no such card: ask its signer for the proof");
  return { note, index: parseSize(textOf(told, "what the log says").replace(/\n$/, "")), hashes: null };
}

// A partial tile may be gone once it is full (tlog-tiles, Partial Tiles).
async function fromTile(path, width) {
  const partial = width < TILE ? await fetched(`${path}.p/${width}`, FILE_OF_LOG_BYTES_MAX) : null;
  const bytes = partial ?? (await fetched(path, FILE_OF_LOG_BYTES_MAX));
  if (!bytes) throw new Refused("the log has lost one of its files");
  return bytes;
}

// A file beside the page, from where the page itself came and from nowhere else; null where there is none.
async function fetched(path, bytesMax) {
  let bytes;
  try {
    const response = await fetch(new URL(path, location.href), { redirect: "error", credentials: "omit", cache: "no-store" });
    if (response.status === 404 || response.status === 410) return null;
    if (!response.ok) throw new Error();
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch {
    throw new Refused("a file beside this page could not be read");
  }
  if (bytes.length > bytesMax) throw new Refused("a file beside this page is longer than it can be");
  return bytes;
}
