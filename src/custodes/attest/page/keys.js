// Keys as C2SP notes write them, name+keyid+base64(type || key), and what they verify. Weak keys are refused.

const ED25519 = 1;
const COSIGNATURE = 4;
const ML_DSA = 6; // witnesses may sign so, and no browser verifies it: such a witness is known here, and never counts
const ML_DSA_BYTES = 1312;
const KEY_NAME = /^[!-*,-~]{1,128}$/;
const KEYS_MAX = 64;

// Signatures under points of order 1, 2, 4 and 8 verify for almost any message, and browsers need not refuse them;
// RFC 8032 section 5.1.3 asks for y < p on top.
const P = 2n ** 255n - 19n;
const Y8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
const LOW_ORDER_Y = [0n, 1n, P - 1n, Y8, P - Y8];

async function parseKey(text, types = [ED25519]) {
  const parts = /^([^+]*)\+([^+]*)\+(.*)$/.exec(text.trim());
  if (!parts) throw new Refused("a key has the form name+keyid+base64");
  const [, name, id, encoded] = parts;
  const blob = fromBase64(encoded);
  if (!types.includes(blob[0])) throw new Refused("the key is not of the type that it must be here (Ed25519)");
  if (!KEY_NAME.test(name)) throw new Refused("a key's name is 1 to 128 printable ASCII characters without spaces or '+'");
  const [type, bytes] = [blob[0], blob.subarray(1)];
  if (type === ML_DSA && bytes.length !== ML_DSA_BYTES) throw new Refused("the key of a witness has another length than its kind");
  if (type !== ML_DSA) checkStrong(name, bytes);
  const keyId = (await sha256(utf8(`${name}\n`), blob)).subarray(0, 4);
  if (hex(keyId) !== id) throw new Refused(`key ${name} carries a key id that is not its own: it was altered or mistyped`);
  return { name, keyId, bytes, type };
}

const parseCosigner = (text) => parseKey(text, [COSIGNATURE, ML_DSA]);

function checkStrong(name, bytes) {
  if (bytes.length !== 32) throw new Refused(`an Ed25519 key has 32 bytes, not ${bytes.length}`);
  const y = BigInt(`0x${hex(bytes.slice().reverse())}`) & (2n ** 255n - 1n);
  if (y >= P || LOW_ORDER_Y.includes(y)) {
    throw new Refused(`key ${name} is a weak Ed25519 key: almost any signature verifies under it`);
  }
}

async function parseKeys(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!lines.length) throw new Refused("there is no key to verify a card with: get it from the signer, by a way that you trust");
  if (lines.length > KEYS_MAX) throw new Refused(`more than ${KEYS_MAX} keys`);
  return Promise.all(lines.map((line) => parseKey(line)));
}

async function signedBy(key, message, signature) {
  if (signature.length !== 64) return false;
  const imported = await crypto.subtle.importKey("raw", key.bytes, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
}

// RFC 8032 section 7.1, test 2: a browser that cannot tell this signature from another one verifies nothing here.
const KNOWN = {
  key: "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
  signature: "kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA==",
  message: Uint8Array.of(0x72),
};

async function canVerify() {
  if (!globalThis.crypto?.subtle) return false;
  const key = { bytes: fromBase64(KNOWN.key) };
  const signature = fromBase64(KNOWN.signature);
  const altered = signature.slice();
  altered[0] ^= 1;
  try {
    return (await signedBy(key, KNOWN.message, signature)) === true && (await signedBy(key, KNOWN.message, altered)) === false;
  } catch {
    return false; // the browser knows no Ed25519
  }
}
