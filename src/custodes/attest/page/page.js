// The page: what is put in, and what comes out.

const at = (id) => document.getElementById(id);
const FIELDS = ["card", "key", "policy", "proof"];
const chosen = {}; // by field: the bytes of the file that was chosen, as they are

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
at("again").addEventListener("click", startOver);
for (const field of FIELDS) {
  at(`${field}-file`).addEventListener("change", (event) => takeFiles(event.target.files, field));
  at(`${field}-text`).addEventListener("input", () => forget(field));
}
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", name === "dragover");
    if (name === "drop") takeFiles(event.dataTransfer.files, null);
  });
}
document.addEventListener("dragleave", () => document.body.classList.remove("over"));

async function takeFiles(files, field) {
  for (const file of files) {
    if (file.size > TABLES.envelopeBytesMax) continue;
    const bytes = new Uint8Array(await file.arrayBuffer());
    take(field ?? fieldOf(bytes), bytes, file.name);
  }
}

// What a file is, by its beginning.
function fieldOf(bytes) {
  const text = new TextDecoder().decode(bytes.subarray(0, 4096));
  if (text.startsWith("c2sp.org/tlog-proof@")) return "proof";
  if (/^\s*\{/.test(text)) return "card";
  return /^[^\S\n]*(log|witness|group|quorum)\s/m.test(text) ? "policy" : "key";
}

function take(field, bytes, name) {
  chosen[field] = bytes;
  const small = bytes.length <= 1 << 16;
  at(`${field}-text`).value = small ? new TextDecoder().decode(bytes) : "";
  at(`${field}-name`).textContent = visible(`${name} · ${many(bytes.length, "byte")}`);
  at(`${field}-file`).value = "";
  if (field === "policy" || field === "proof") at("log").open = true;
  hideResult();
}

function forget(field) {
  delete chosen[field];
  at(`${field}-name`).textContent = "";
  hideResult();
}

function startOver() {
  at("ask").reset();
  FIELDS.forEach(forget);
  at("card-text").focus();
}

// What is in a field: a file's bytes as they are; of pasted text, which has lost how it ended, one line feed at its end.
function given(field) {
  if (chosen[field]) return chosen[field];
  const text = at(`${field}-text`).value.trim();
  return text ? utf8(`${text}\n`) : null;
}

let runs = 0;

async function run() {
  hideResult();
  const mine = runs;
  document.body.setAttribute("aria-busy", "true");
  let drawn;
  try {
    drawn = draw(await verified());
  } catch {
    drawn = { kind: "unable", title: "Nothing was verified", verdict: ["This page went wrong: nothing was verified."], checks: [], told: [] };
  }
  if (mine !== runs) return; // something else was asked for meanwhile
  show(drawn);
  document.body.setAttribute("aria-busy", "false");
}

async function verified() {
  if (!(await canVerify())) {
    return { checks: [check("browser", "failed", "this browser cannot verify Ed25519 signatures here, so nothing was verified: use a newer one (Chromium 137, Firefox 129, Safari 17 or later), and open the page from your disk or over https")], told: null, unable: true };
  }
  const card = given("card");
  if (!card) return { checks: [check("card", "failed", "there is no card: choose the file, or paste it")], told: null, unable: true };
  let keys;
  try {
    keys = await parseKeys(textOf(given("key") ?? new Uint8Array(), "the key"));
  } catch (error) {
    return { checks: [check("key", "failed", said(error))], told: null };
  }
  const result = await verifyCard(card, keys, Date.now());
  const logged = result.told ? await logChecks(card, given("policy"), given("proof")) : [];
  const failed = logged.some((each) => each.state === "failed");
  return { checks: [...result.checks, ...logged], told: failed ? null : result.told };
}

// -- what comes out

const STATES = { passed: ["✓", "passed"], failed: ["✕", "failed"], note: ["i", "note"] };

function hideResult() {
  runs += 1; // what is under way is about what was there before
  document.body.setAttribute("aria-busy", "false");
  at("result").hidden = true;
  at("welcome").hidden = false;
  at("verdict").replaceChildren();
  at("checks").replaceChildren();
  at("told").replaceChildren();
}

// All of it before any of it is shown: what goes wrong here must leave no verdict standing.
function draw({ checks, told, unable = false }) {
  const kind = told ? "passed" : unable ? "unable" : "failed";
  const [title, means] = VERDICTS[kind];
  const sign = el("span", "sign", { passed: "✓", failed: "✕", unable: "?" }[kind]);
  sign.setAttribute("aria-hidden", "true");
  const verdict = [sign, el("div", "", el("h2", "", title), el("p", "", told ? `${told.key.name} ${means}` : means))];
  return { kind, title, verdict, checks: checks.map(showCheck), told: told ? showStatement(told) : [] };
}

function show({ kind, title, verdict, checks, told }) {
  at("verdict").className = kind;
  at("verdict").replaceChildren(...verdict);
  at("checks").replaceChildren(...checks);
  at("told").replaceChildren(...told);
  at("told").hidden = !told.length;
  at("welcome").hidden = true;
  at("result").hidden = false;
  document.title = `${title} · custodes`;
  at("verdict").focus();
}

const VERDICTS = {
  passed: ["This card verifies", "signed it, exactly as it is here, and its numbers add up. It says what the signer states; it is no judgement of the dataset."],
  failed: ["Do not believe this card", "A check failed. Nothing of the card is shown, since nothing of it can be relied on."],
  unable: ["Nothing was verified", "This is no verdict on the card."],
};

function showCheck({ name, state, means }) {
  const [sign, word] = STATES[state];
  const mark = el("span", "sign", sign);
  mark.setAttribute("aria-hidden", "true");
  const item = el("li", state, mark, el("div", "", el("p", "name", el("strong", "", name), el("span", "state", word)), el("p", "means", means), EXPLAINED[name] ? el("p", "why", EXPLAINED[name]) : null));
  item.dataset.name = name;
  item.dataset.state = state;
  return item;
}

const EXPLAINED = {
  key: "Everything rests on the key. Under a weak or mistyped one almost any signature would pass.",
  signature: "Only the holder of the key can make a file that passes here, and not one byte of it can be changed afterwards.",
  statement: "The numbers must add up and have one form, so that nothing can be left out between two figures.",
  time: "The time is the signer's own word. A card from the time to come is refused; witnesses of a log vouch for another time.",
  policy: "It says whom you trust. Nothing of a log counts without it.",
  log: "A card in a public log is shown to everybody alike. Without that, others may have been shown another one.",
  witnesses: "They sign only a log that goes on from what they saw, so that nobody is shown another history.",
  entry: "The hashes lead from this very file to what the log and its witnesses signed.",
  history: "A log never goes back.",
  authority: "Such a card is made to try the tool. It says nothing of a real dataset.",
  guards: "They keep hostile images from meddling with the examination. Figures are the same without them, if no image tried.",
  coverage: "Ask the signer for a card of the whole run.",
  lists: "What was added to the list since is not in these figures.",
  detectors: "It may find most of what it looks for, or little.",
  rows: "That the figures are true can then be seen only by examining the dataset again.",
  reach: "Of these the card says only why.",
};

// A card beside the page can be named in its address. A key cannot: whoever made the link would choose whom you trust.
async function fromAddress() {
  const named = new URL(location.href).searchParams.get("card");
  if (named === null) return;
  const url = new URL(named, location.href);
  if (!location.protocol.startsWith("http") || url.origin !== location.origin) {
    at("card-name").textContent = "the card in the address lies elsewhere: choose its file";
    return;
  }
  try {
    const bytes = await fetched(url.href, TABLES.envelopeBytesMax);
    if (!bytes) throw new Refused("there is no card where the address says");
    take("card", bytes, url.pathname.split("/").pop());
  } catch (error) {
    at("card-name").textContent = said(error);
  }
}

fromAddress();
