// Signed notes, checkpoints, cosignatures, proofs and policies of logs (C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof,
// tlog-policy), read strictly. Lines of keys that are not known decide nothing; a line of a known key that is not its own refuses the note.

const NOTE_BYTES_MAX = 1 << 17;
const SIZE_MAX = 2n ** 63n - 1n;
const PROOF_HASHES_MAX = 63;
const POLICY_BYTES_MAX = 1 << 20;
const KNOWN_MAX = 256; // logs; and witnesses and groups together

function parseNote(bytes) {
  const text = textOf(bytes, "the checkpoint");
  const blank = text.lastIndexOf("\n\n"); // the last blank line: a text may hold others
  if (bytes.length > NOTE_BYTES_MAX || blank < 0 || /[\u0000-\u0009\u000b-\u001f]/.test(text)) {
    throw new Refused("not a signed note: no blank line before the signatures, or control characters, or too long");
  }
  const lines = text.slice(blank + 2).split("\n");
  if (lines.length < 2 || lines.pop() !== "") throw new Refused("a note ends with at least one signature, and each with a line feed");
  return { text: text.slice(0, blank + 1), lines: lines.map(parseLine) };
}

function parseLine(line) {
  const found = /^\u2014 ([^\s+]+) (\S+)$/u.exec(line);
  if (!found) throw new Refused("a signature line is a dash, the key's name and the signature");
  const bytes = fromBase64(found[2]);
  if (bytes.length < 5) throw new Refused("a signature is shorter than a key id and one byte");
  return { name: found[1], keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length < 4 || lines.pop() !== "" || lines.includes("")) {
    throw new Refused("not a checkpoint: it has an origin, a size and a root, each on a line of its own");
  }
  return { origin: lines[0], size: parseSize(lines[1]), root: parseHash(lines[2]) };
}

function parseSize(text) {
  if (!/^(0|[1-9][0-9]{0,18})$/.test(text) || BigInt(text) > SIZE_MAX) throw new Refused("a log's size is a decimal number below 2^63");
  return BigInt(text);
}

function parseHash(text) {
  const bytes = fromBase64(text);
  if (bytes.length !== 32) throw new Refused(`a hash has 32 bytes, not ${bytes.length}`);
  return bytes;
}

function parseProof(bytes) {
  const text = textOf(bytes, "the proof");
  if (bytes.length > 2 * NOTE_BYTES_MAX) throw new Refused("the proof is too long");
  const blank = text.indexOf("\n\n");
  const lines = text.slice(0, Math.max(blank, 0)).split("\n");
  if (blank < 0 || lines.shift() !== "c2sp.org/tlog-proof@v1") throw new Refused("not a proof of a log, or one of another version");
  if (lines[0]?.startsWith("extra ") && !fromBase64(lines.shift().slice(6)).length) throw new Refused("the proof's extra line is empty"); // else read past: nobody signed it
  const index = /^index (\S+)$/.exec(lines.shift() ?? "");
  if (!index) throw new Refused("the proof names no index");
  if (lines.length > PROOF_HASHES_MAX) throw new Refused(`a proof is at most ${PROOF_HASHES_MAX} hashes`);
  return { index: parseSize(index[1]), hashes: lines.map(parseHash), note: utf8(text.slice(blank + 2)) };
}

// -- whom to trust

async function parsePolicy(bytes) {
  const text = textOf(bytes, "the log policy");
  const policy = { logs: [], members: new Map(), used: new Set(), quorum: null };
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text) || !text.endsWith("\n") || bytes.length > POLICY_BYTES_MAX) {
    throw new Refused("not a log policy: it has control characters, is cut off, or is far too long");
  }
  for (const [at, line] of text.split("\n").entries()) {
    const [word, ...rest] = line.replace(/^[ \t]+|[ \t]+$/g, "").split(/[ \t]+/);
    if (word === "" || word.startsWith("#")) continue;
    await policyLine(policy, word, rest).catch((error) => {
      throw new Refused(`line ${at + 1} of the log policy: ${said(error)}`);
    });
  }
  if (!policy.quorum) throw new Refused("the log policy has no quorum line");
  if (!policy.logs.length) throw new Refused("the log policy names no log");
  return policy;
}

async function policyLine(policy, word, rest) {
  if (!Object.hasOwn(POLICY_LINES, word)) throw new Refused("it begins with none of log, witness, group and quorum");
  await POLICY_LINES[word](policy, rest);
  if (policy.logs.length > KNOWN_MAX || policy.members.size > KNOWN_MAX) throw new Refused(`a policy has at most ${KNOWN_MAX} logs, and as many witnesses and groups together`);
}

const POLICY_LINES = {
  async log(policy, [key, ...url]) {
    needWords(key && url.length <= 1);
    policy.logs.push(newKey(policy, await parseKey(key)));
  },
  async witness(policy, [name, key, ...url]) {
    needWords(name && key && url.length <= 1);
    define(policy, name, { witness: newKey(policy, await parseCosigner(key)) });
  },
  group(policy, [name, count, ...members]) {
    needWords(name && count && members.length);
    const least = { any: 1, all: members.length }[count] ?? (/^[1-9][0-9]{0,3}$/.test(count) ? Number(count) : 0);
    needWords(least >= 1 && least <= members.length);
    for (const member of members) {
      needWords(policy.members.has(member) && !policy.used.has(member));
      policy.used.add(member);
    }
    define(policy, name, { least, members });
  },
  quorum(policy, [name, ...rest]) {
    needWords(name && !rest.length && !policy.quorum && (name === "none" || policy.members.has(name)));
    policy.quorum = name;
  },
};

function needWords(right) {
  if (!right) throw new Refused("it is not written as it must be, or names what no line before defines, or what is taken");
}

function define(policy, name, member) {
  needWords(name !== "none" && !policy.members.has(name));
  policy.members.set(name, member);
}

// One key under two names would count twice; a log that witnesses itself is no witness.
function newKey(policy, key) {
  const witnesses = witnessesOf(policy);
  if ([...policy.logs, ...witnesses].some((each) => equal(each.bytes, key.bytes))) throw new Refused("one key stands there twice");
  if (key.type !== ED25519 && witnesses.some((each) => each.name === key.name)) throw new Refused("two witnesses share a name");
  return key;
}

const witnessesOf = (policy) => [...policy.members.values()].flatMap((each) => each.witness ?? []);

function reached(policy, name, witnesses) {
  if (name === "none") return true;
  const { witness, least, members } = policy.members.get(name);
  if (witness) return witnesses.has(witness);
  return members.filter((member) => reached(policy, member, witnesses)).length >= least;
}

// -- what counts

async function verifyCheckpoint(bytes, policy) {
  const note = parseNote(bytes);
  const checkpoint = parseCheckpoint(note.text);
  const message = utf8(note.text);
  const logs = policy.logs.filter((log) => log.name === checkpoint.origin);
  if (!logs.length) throw new Refused("the checkpoint is of a log that the policy does not name");
  const signed = await signaturesOf(logs, note, (key, signature) => signedBy(key, message, signature));
  if (!signed.size) throw new Refused("no key of the log signed this checkpoint, by the policy");
  const witnesses = witnessesOf(policy);
  const seen = await signaturesOf(witnesses.filter((each) => each.type === COSIGNATURE), note, (key, signature) => cosigned(key, note.text, signature));
  if (!reached(policy, policy.quorum, seen)) {
    throw new Refused(`too few witnesses signed this checkpoint: ${seen.size} of ${witnesses.length} that the policy names`);
  }
  return { ...checkpoint, witnesses: seen };
}

async function signaturesOf(keys, note, verify) {
  const found = new Map();
  for (const key of keys) {
    for (const line of note.lines.filter((each) => each.name === key.name && equal(each.keyId, key.keyId))) {
      if (!(await verify(key, line.signature))) throw new Refused(`the signature of ${key.name} is not its own: the checkpoint was changed, or never signed`);
      found.set(key, line.signature);
    }
  }
  return found;
}

function cosignedAt(signature) {
  return new DataView(signature.buffer, signature.byteOffset, 8).getBigUint64(0);
}

async function cosigned(key, text, signature) {
  if (signature.length !== 72 || cosignedAt(signature) > SIZE_MAX) return false;
  return signedBy(key, utf8(`cosignature/v1\ntime ${cosignedAt(signature)}\n${text}`), signature.subarray(8));
}
