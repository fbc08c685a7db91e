// Merkle trees (RFC 6962) and the files that they lie in (C2SP tlog-tiles): what a proof proves, and a proof out of a log's own files.

const HASH = 32;
const TILE = 256n;

const leafHash = (entry) => sha256(Uint8Array.of(0), entry);
const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

function bitLength(number) {
  return number === 0n ? 0 : number.toString(2).length;
}

// The spans whose roots prove that a leaf is in a tree, from the leaf up (RFC 6962 section 2.1.1).
function inclusionPath(index, size) {
  if (index < 0n || index >= size || size > SIZE_MAX) throw new Refused(`there is no entry ${index} in a log of ${size}`);
  const path = [];
  let [start, stop] = [0n, size];
  while (stop - start > 1n) {
    const middle = start + (1n << BigInt(bitLength(stop - start - 1n) - 1));
    if (index < middle) {
      path.unshift([middle, stop]);
      stop = middle;
    } else {
      path.unshift([start, middle]);
      start = middle;
    }
  }
  return path;
}

async function verifyInclusion(leaf, index, hashes, tree) {
  const path = inclusionPath(index, tree.size);
  if (hashes.length !== path.length) throw new Refused(`the proof proves nothing: ${hashes.length} hashes where ${path.length} are needed`);
  let root = leaf;
  for (const [at, [, stop]] of path.entries()) {
    root = await (stop <= index ? nodeHash(hashes[at], root) : nodeHash(root, hashes[at]));
  }
  if (!equal(root, tree.root)) throw new Refused("the proof proves nothing: it leads to another root");
}

// -- a proof out of tiles

async function proofFromTiles(index, size, read) {
  const hashes = [];
  for (const [start, stop] of inclusionPath(index, size)) hashes.push(await rootOfSpan(start, stop, size, read));
  return hashes;
}

async function rootOfSpan(start, stop, size, read) {
  const nodes = [];
  for (let at = start; at < stop; ) {
    let level = bitLength(stop - at) - 1;
    while (at & ((1n << BigInt(level)) - 1n)) level -= 1; // a node begins at a multiple of its width
    nodes.push(await nodeOf(level, at >> BigInt(level), size, read));
    at += 1n << BigInt(level);
  }
  let root = nodes.pop();
  while (nodes.length) root = await nodeHash(nodes.pop(), root);
  return root;
}

async function nodeOf(level, number, size, read) {
  const [tileLevel, height] = [Math.floor(level / 8), BigInt(level % 8)];
  const first = number << height;
  const inTile = size >> BigInt(8 * tileLevel);
  const tile = first / TILE;
  const width = inTile - tile * TILE < TILE ? inTile - tile * TILE : TILE;
  const bytes = await read(tilePath(tileLevel, tile), width);
  if (bytes.length !== Number(width) * HASH && bytes.length !== 256 * HASH) throw new Refused("a tile of the log has another length than its name says");
  let nodes = [];
  for (let at = Number(first % TILE); nodes.length < 1 << Number(height); at += 1) nodes.push(bytes.slice(at * HASH, (at + 1) * HASH));
  while (nodes.length > 1) {
    nodes = await Promise.all(nodes.filter((_, at) => at % 2 === 0).map((left, at) => nodeHash(left, nodes[2 * at + 1])));
  }
  return nodes[0];
}

function tilePath(level, number) {
  const digits = String(number);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/.{3}/g);
  return `tile/${level}/${groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join("/")}`;
}
