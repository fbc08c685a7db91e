// JSON as a card is written, and nothing else: keys in order, no spaces, one spelling for each number and text.
// Whole numbers are read as BigInt, others as Number, so that a value keeps its kind; objects have no prototype.

const DEPTH_MAX = 64;

function readCanonical(bytes) {
  const reader = new CanonicalReader(textOf(bytes, "what was signed"));
  const value = reader.value(0);
  if (reader.at !== reader.text.length) throw reader.refused();
  return value;
}

class CanonicalReader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  refused() {
    return new Refused(`it is not written as a card is written (at character ${counted(this.at)})`);
  }

  took(text) {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  need(text) {
    if (!this.took(text)) throw this.refused();
  }

  value(depth) {
    if (depth > DEPTH_MAX) throw this.refused();
    if (this.took("{")) return this.object(depth);
    if (this.took("[")) return this.array(depth);
    if (this.text[this.at] === '"') return this.string();
    for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
      if (this.took(word)) return value;
    }
    return this.number();
  }

  object(depth) {
    const found = Object.create(null);
    let before = null;
    if (this.took("}")) return found;
    do {
      const key = this.string();
      if (before !== null && !comesBefore(before, key)) throw this.refused(); // also where one stands twice
      this.need(":");
      found[key] = this.value(depth + 1);
      before = key;
    } while (this.took(","));
    this.need("}");
    return found;
  }

  array(depth) {
    const found = [];
    if (this.took("]")) return found;
    do found.push(this.value(depth + 1));
    while (this.took(","));
    this.need("]");
    return found;
  }

  matched(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) throw this.refused();
    return found[0];
  }

  string() {
    const raw = this.matched(/"(?:[^"\\\u0000-\u001f]|\\.)*"/uy);
    let value;
    try {
      value = JSON.parse(raw);
    } catch {
      throw this.refused();
    }
    if (JSON.stringify(value) !== raw || !value.isWellFormed()) throw this.refused();
    this.at += raw.length;
    return value;
  }

  number() {
    const raw = this.matched(/-?[0-9][-+.0-9eE]*/uy);
    const whole = /^(0|-?[1-9][0-9]*)$/.test(raw);
    if (!whole && written(Number(raw)) !== raw) throw this.refused();
    this.at += raw.length;
    return whole ? BigInt(raw) : Number(raw);
  }
}

// By code points, as UTF-8 sorts; < would sort by UTF-16.
function comesBefore(one, other) {
  const [left, right] = [Array.from(one), Array.from(other)];
  for (let at = 0; at < left.length && at < right.length; at += 1) {
    if (left[at] !== right[at]) return left[at].codePointAt(0) < right[at].codePointAt(0);
  }
  return left.length < right.length;
}

// A number with a fraction: the shortest digits that read back, with an exponent where it is very small or large.
function written(number) {
  if (!Number.isFinite(number)) return "";
  const sign = number < 0 || Object.is(number, -0) ? "-" : "";
  const [mantissa, exponent] = Math.abs(number).toExponential().split("e");
  const digits = mantissa.replace(".", "");
  const point = number === 0 ? 1 : Number(exponent) + 1;
  if (point <= -5 || point > 16) {
    return `${sign}${digits[0]}${digits.length > 1 ? `.${digits.slice(1)}` : ""}e${point - 1}`;
  }
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  const padded = digits.padEnd(point + 1, "0");
  return `${sign}${padded.slice(0, point)}.${padded.slice(point)}`;
}

// -- the shape of a statement: the part of JSON Schema that the program writes. Every property must be there: a card is written whole.

const KEYWORDS = new Set([
  ...["$ref", "$defs", "title", "description", "default", "type", "properties", "required", "additionalProperties"],
  ...["propertyNames", "items", "minItems", "maxItems", "enum", "anyOf", "pattern", "minLength", "maxLength"],
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minProperties", "maxProperties"],
]);

const KINDS = {
  object: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  array: Array.isArray,
  string: (value) => typeof value === "string",
  integer: (value) => typeof value === "bigint",
  number: (value) => typeof value === "number",
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
};

function checkShape(value, schema, path = "$") {
  for (const keyword of Object.keys(schema)) {
    if (!KEYWORDS.has(keyword)) throw new Refused(`this page does not know the rule ${keyword}`);
  }
  if (schema.$ref) return checkShape(value, TABLES.schema.$defs[schema.$ref.split("/").pop()], path);
  if (schema.anyOf) return checkAny(value, schema.anyOf, path);
  const kind = kindOf(schema);
  if (!KINDS[kind](value)) throw new Refused(`${path} is not of the kind that it must be (${kind})`);
  if (schema.enum && !schema.enum.includes(value)) throw new Refused(`${path} is none of the words that it may be`);
  if (kind === "object") checkObject(value, schema, path);
  if (kind === "array") checkArray(value, schema, path);
  if (kind === "string") checkString(value, schema, path);
  if (kind === "integer" || kind === "number") checkNumber(value, schema, path);
  return undefined;
}

function checkAny(value, schemas, path) {
  const fits = schemas.find((schema) => KINDS[kindOf(schema)](value));
  if (!fits) throw new Refused(`${path} is not of a kind that it may be`);
  checkShape(value, fits, path);
}

function kindOf(schema) {
  return schema.$ref ? kindOf(TABLES.schema.$defs[schema.$ref.split("/").pop()]) : (schema.type ?? "string");
}

function checkObject(value, schema, path) {
  const properties = schema.properties ?? {};
  for (const name of Object.keys(properties)) {
    if (!(name in value)) throw new Refused(`${path} has no ${name}`);
  }
  const names = Object.keys(value);
  within(names.length, schema.minProperties, schema.maxProperties, path);
  for (const name of names) {
    const own = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
    if (own === false) throw new Refused(`${path} has a field that no card has`);
    if (schema.propertyNames) checkShape(name, { type: "string", ...schema.propertyNames }, `a name in ${path}`);
    if (own) checkShape(value[name], own, Object.hasOwn(properties, name) ? `${path}.${name}` : `an entry of ${path}`);
  }
}

function checkArray(value, schema, path) {
  within(value.length, schema.minItems, schema.maxItems, path);
  value.forEach((item, at) => checkShape(item, schema.items ?? {}, `${path}[${at}]`));
}

function checkString(value, schema, path) {
  within(Array.from(value).length, schema.minLength, schema.maxLength, path);
  if (schema.pattern && !new RegExp(schema.pattern, "u").test(value)) throw new Refused(`${path} is not written as it must be`);
}

function checkNumber(value, schema, path) {
  within(value, schema.minimum, schema.maximum, path);
  if (value <= (schema.exclusiveMinimum ?? -Infinity) || value >= (schema.exclusiveMaximum ?? Infinity)) {
    throw new Refused(`${path} is out of its range`);
  }
}

function within(value, least, most, path) {
  if (value < (least ?? -Infinity) || value > (most ?? Infinity)) throw new Refused(`${path} is out of its range`);
}
