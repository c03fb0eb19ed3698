/**
 * Passkeys: the browser has what the server asks for signed by the person's telephone, computer or security key.
 *
 * Where a browser knows no passkeys, the buttons stay hidden, and a code is given instead.
 */

class Refused extends Error {}

/**
 * What the server wants to be signed.
 * @param {string} path
 * @param {URLSearchParams} fields
 * @returns {Promise<any>}
 */
async function ask(path, fields) {
  const answer = await fetch(path, { method: "POST", body: fields, redirect: "manual" });
  const said = await answer.json();
  if (!answer.ok) throw new Refused(String(said.error));
  return said;
}

/**
 * What a passkey of the person's signed, as text for a form.
 * @returns {Promise<string>}
 */
async function use() {
  const asked = await ask("/passkey", new URLSearchParams());
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked);
  return text(await navigator.credentials.get({ publicKey }));
}

/**
 * A new passkey, as text for a form.
 * @param {HTMLFormElement} form with what the server wants to know first
 * @returns {Promise<string>}
 */
async function add(form) {
  const asked = await ask("/account/second-factor/new-passkey", fieldsOf(form));
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(asked);
  return text(await navigator.credentials.create({ publicKey }));
}

/** @param {Credential | null} credential */
function text(credential) {
  if (!(credential instanceof PublicKeyCredential)) throw new Error("there is no passkey");
  return JSON.stringify(credential.toJSON());
}

/** @param {HTMLFormElement} form */
function fieldsOf(form) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) fields.append(name, String(value));
  return fields;
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {HTMLInputElement | null}
 */
function input(form, name) {
  const found = form.elements.namedItem(name);
  return found instanceof HTMLInputElement ? found : null;
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 * @param {string} value
 */
function fill(form, name, value) {
  const field = input(form, name);
  if (field) field.value = value;
}

/** @param {unknown} error */
function complain(error) {
  const place = document.getElementById("passkey-problem");
  if (!place) return;
  place.textContent = error instanceof Refused ? error.message : (place.dataset.failed ?? "");
  place.hidden = false;
}

/**
 * Sends a form with what a passkey signed in place of the code.
 * @param {HTMLFormElement} form
 */
async function proven(form) {
  const code = input(form, "code");
  if (code) code.required = false;
  try {
    if (!form.reportValidity()) return;
    fill(form, "passkey", await use());
    form.requestSubmit();
  } catch (error) {
    complain(error);
  } finally {
    if (code) code.required = true;
  }
}

/**
 * Makes a passkey, and sends the form with it.
 * @param {HTMLFormElement} form
 */
async function added(form) {
  try {
    fill(form, "made", await add(form));
    fill(form, "password", "");
    form.submit();
  } catch (error) {
    fill(form, "passkey", "");
    complain(error);
  }
}

/** Whether this browser has all of it. */
function able() {
  const wanted = ["parseRequestOptionsFromJSON", "parseCreationOptionsFromJSON"];
  return "PublicKeyCredential" in window && wanted.every((name) => name in PublicKeyCredential);
}

/** What was signed is good once: a page that is shown again has to ask anew, and a code that is typed counts. */
function forgetSigned() {
  for (const field of document.querySelectorAll("input[name=passkey]")) {
    if (field instanceof HTMLInputElement) field.value = "";
  }
}

window.addEventListener("pageshow", forgetSigned);
document.addEventListener("input", forgetSigned);

if (able()) {
  for (const button of document.querySelectorAll("button[data-passkey-use]")) {
    if (!(button instanceof HTMLButtonElement) || !button.form) continue;
    const form = button.form;
    button.hidden = false;
    button.addEventListener("click", () => void proven(form));
  }
  for (const form of document.querySelectorAll("form[data-passkey-add]")) {
    if (!(form instanceof HTMLFormElement)) continue;
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void added(form);
    });
  }
}
