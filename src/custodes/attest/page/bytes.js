// Bytes: base64 in the one way that it may be written, hexadecimal, SHA-256, text.

class Refused extends Error {}

const encoder = new TextEncoder();
const utf8 = (text) => encoder.encode(text);

function textOf(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused(`${what} is not text in UTF-8`);
  }
}

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const equal = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return btoa(text);
}

// Bits that no byte uses would let two texts mean the same: what does not print back is refused.
function fromBase64(text) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    throw new Refused("what should be base64 is not");
  }
  if (base64(bytes) !== text) throw new Refused("what should be base64 is not written in the one way that it may be");
  return bytes;
}

async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
}

const numbers = new Intl.NumberFormat("en-GB");
const counted = (number) => numbers.format(number);
const many = (number, one, more = `${one}s`) => `${counted(number)} ${BigInt(number) === 1n ? one : more}`;
