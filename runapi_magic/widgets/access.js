// For those who do not see a container, or use no pointer. bridge.js calls these functions.

const SOON = 100; // milliseconds
const UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)";
const CONTROLS = "button, input, select, textarea";
const SIGNS = "button.jupyter-button[title]";
const TURNS = { ArrowLeft: "-1", ArrowRight: "1" };

// The plain picture above a container, in the outputs of the same cell.
function pictureAbove(container, area) {
  const isAbove = (picture) =>
    picture.compareDocumentPosition(container) & Node.DOCUMENT_POSITION_FOLLOWING;
  return [...area.querySelectorAll(PICTURES)].filter(isAbove).at(-1);
}

function watch(target, act, signal, more = {}) {
  const observer = new MutationObserver(act);
  observer.observe(target, { childList: true, subtree: true, ...more });
  signal.addEventListener("abort", () => observer.disconnect());
}

// JupyterLab 4 and Notebook 7 leave out the alt that is in a picture's metadata.
function describePicture(container, area, model, signal) {
  const describe = () => {
    const alt = model.get("alt");
    const picture = alt && pictureAbove(container, area);
    if (picture && picture.alt !== alt) picture.alt = alt;
  };
  describe();
  watch(area, describe, signal);
  model.on("change:alt", describe);
  signal.addEventListener("abort", () => model.off("change:alt", describe));
}

// Screen readers read what changes in a region that they know already.
function makeAnnouncer(container, signal) {
  const region = document.createElement("div");
  region.setAttribute("role", "status");
  region.style.cssText = UNSEEN;
  container.append(region);
  signal.addEventListener("abort", () => region.remove());
  return (text) => {
    region.textContent = ""; // the same words again are news, too
    setTimeout(() => (region.textContent = text), SOON);
  };
}

// ipywidgets give a button no other name than its words: a sign is called what its tooltip says.
function nameSigns(container, signal) {
  const name = () => {
    for (const button of container.querySelectorAll(SIGNS)) {
      const isSign = !/^[\p{L}\p{N}]/u.test(button.textContent.trim());
      if (isSign && button.ariaLabel !== button.title) button.ariaLabel = button.title;
    }
  };
  name();
  watch(container, name, signal, { attributes: true, attributeFilter: ["title"] });
}

// Left and right on a button: one version back, one on. Returns null for other keys.
function turnOf(event) {
  const isPlain = !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey);
  return isPlain && event.target.closest("button") ? (TURNS[event.key] ?? null) : null;
}

function isThere(control) {
  return control.isConnected && !control.disabled && control.getClientRects().length > 0;
}

// A control that goes away with the focus on it hands it on to the one that takes its place.
function handFocusOn(container, on, signal) {
  const controls = () => [...container.querySelectorAll(CONTROLS)].filter(isThere);
  let last = null;
  let place = 0;
  on(container, "focusin", (event) => {
    last = event.target;
    place = controls().indexOf(last);
  });
  on(container, "focusout", () => {
    const left = last;
    queueMicrotask(() => {
      // One that is still there was left on purpose.
      if (left === last && left && isThere(left) && left !== document.activeElement) last = null;
    });
  });
  const handOn = () => {
    const now = document.activeElement;
    if (!last || isThere(last) || (now !== last && now && now !== document.body)) return;
    const left = controls();
    left[Math.min(Math.max(place, 0), left.length - 1)]?.focus({ preventScroll: true });
  };
  const more = { attributes: true, attributeFilter: ["style", "class", "disabled"] };
  // The kernel may say a moment later where the focus goes.
  watch(container, () => last && !isThere(last) && setTimeout(handOn, SOON), signal, more);
}
