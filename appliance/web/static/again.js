/**
 * Reads a page of the console again every few seconds, as long as its box is ticked: the address remembers that.
 */

const EVERY_MILLISECONDS = 5000;
const MARK = "#again";
const box = document.getElementById("again");

if (box instanceof HTMLInputElement && box.labels) {
  for (const label of box.labels) label.hidden = false;
  box.checked = location.hash === MARK;
  box.addEventListener("change", () => history.replaceState(null, "", box.checked ? MARK : location.pathname));
  setInterval(() => {
    if (box.checked && !document.hidden) location.reload();
  }, EVERY_MILLISECONDS);
}
