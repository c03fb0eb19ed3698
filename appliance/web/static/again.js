/**
 * Reads a page again every few seconds, as long as its box is ticked: the address remembers that. A box with
 * `data-at-once` is ticked from the start.
 *
 * Not for ever: a session whose operator is not there is to end.
 */

const EVERY_MILLISECONDS = 5000;
const UNATTENDED_MILLISECONDS = 15 * 60 * 1000;
const MARK = "#again";
const SINCE = "again-since";
const box = document.getElementById("again");

/** Somebody is there. */
function attended() {
  sessionStorage.setItem(SINCE, String(Date.now()));
}

function isUnattended() {
  return Date.now() - Number(sessionStorage.getItem(SINCE)) > UNATTENDED_MILLISECONDS;
}

if (box instanceof HTMLInputElement && box.labels) {
  for (const label of box.labels) label.hidden = false;
  const atOnce = "atOnce" in box.dataset;
  if (atOnce && sessionStorage.getItem(SINCE) === null) attended();
  box.checked = (atOnce || location.hash === MARK) && !isUnattended();
  box.addEventListener("change", () => history.replaceState(null, "", box.checked ? MARK : location.pathname + location.search));
  for (const sign of ["change", "pointerdown", "keydown"]) document.addEventListener(sign, attended);
  setInterval(() => {
    if (box.checked && !document.hidden && !isUnattended()) location.reload();
  }, EVERY_MILLISECONDS);
}
