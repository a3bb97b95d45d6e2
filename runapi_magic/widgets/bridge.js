// What core ipywidgets cannot tell or do, for the container that this view stands in.

const CHOSEN = "[data-action]";
const SLIDE = "input[type=range][data-slide]";
const KEYED = "[data-key]";
const CARRIED = ".runapi-carried"; // buttons and fields of ipywidgets
const CARRIED_NUMBER = /\brunapi-carried-(\d+)\b/; // among the classes of each
const BRIDGED = "data-bridged"; // on a container whose bridge works
const ON_ITS_WAY = 3000; // milliseconds until what the kernel speaks of counts as lost
// JupyterLab looks for shortcuts from the key's target upwards and stops at this attribute.
const NO_SHORTCUTS = "data-lm-suppress-shortcuts";

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text); // a page without https has no clipboard
  }
}

function copyByCommand(text) {
  const before = document.activeElement;
  const field = document.createElement("textarea");
  field.value = text;
  field.style.cssText = "position:fixed;top:0;opacity:0";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus({ preventScroll: true });
  return done;
}

// A view is rendered before its parent takes it in, and its cell may be out of sight.
function whenInside(el, selector, signal, then) {
  if (signal.aborted) return;
  const container = el.closest(selector);
  if (container) then(container);
  else requestAnimationFrame(() => whenInside(el, selector, signal, then));
}

// What is to have the focus may have been made only now. Somebody who went elsewhere keeps it there.
function focusWhenThere(container, selector, signal, until) {
  const at = document.activeElement ?? document.body;
  const isElsewhere = !container.contains(at) && !at.contains(container);
  if (signal.aborted || performance.now() > until || isElsewhere) return;
  const control = container.querySelector(selector);
  if (control && isThere(control)) control.focus();
  else requestAnimationFrame(() => focusWhenThere(container, selector, signal, until));
}

// What stands in the carried fields that are seen: pairs of a field's number and its text, of a menu
// the number of its choice.
function shownIn(container) {
  const shown = [];
  for (const field of container.querySelectorAll(CARRIED)) {
    const control = field.querySelector("textarea, input, select");
    if (!control?.getClientRects().length) continue;
    const value = control.matches("select") ? String(control.selectedIndex) : control.value;
    shown.push([numberOf(field), value]);
  }
  return shown;
}

function numberOf(carried) {
  return Number(CARRIED_NUMBER.exec(carried.className)[1]);
}

function listen(container, tell, send, signal) {
  container.setAttribute(BRIDGED, "");
  signal.addEventListener("abort", () => container.removeAttribute(BRIDGED));
  const on = (target, type, act, capture = false) =>
    target.addEventListener(type, act, { signal, capture });

  on(container, "click", (event) => {
    const chosen = event.target.closest(CHOSEN);
    if (chosen && container.contains(chosen)) {
      tell(chosen.dataset.action, chosen.dataset.value ?? "");
    }
  });

  on(container, "input", (event) => {
    if (event.target.matches(SLIDE)) {
      const slider = event.target.closest("[data-slider]");
      slider?.style.setProperty("--at", `${event.target.value}%`);
    }
  });

  // JupyterLab listens to keys at the document, on the way down: only the window comes before.
  on(
    window,
    "keydown",
    (event) => {
      if (!container.contains(event.target)) return;
      const shortcut = (event.ctrlKey || event.metaKey || event.altKey) && event.key !== "Enter";
      event.target.toggleAttribute(NO_SHORTCUTS, !shortcut);
      // ipywidgets tells of Enter before it tells the kernel all that was typed.
      if (event.key === "Enter" && !event.isComposing && event.target.matches("input[type=text]")) {
        tell("enter", event.target.value);
      }
      if (event.key === "Escape" && !event.isComposing) {
        event.stopImmediatePropagation();
        tell("escape", "");
      }
      const turn = turnOf(event);
      if (turn) tell("turn", turn);
    },
    true,
  );

  // ipywidgets' own listener must not send the click, too: it is on the button.
  on(
    window,
    "click",
    (event) => {
      const button = event.target.closest(`button${CARRIED}`);
      if (!button || !container.contains(button)) return;
      const shown = shownIn(container);
      event.stopImmediatePropagation();
      send({ click: numberOf(button), shown });
    },
    true,
  );

  keepFocus(container, on, signal);
  handFocusOn(container, on, signal);
}

// New HTML in the place of the old takes the focus away: give it to the new element of that key.
function keepFocus(container, on, signal) {
  let last = null;
  on(container, "focusin", (event) => {
    last = event.target.closest(KEYED);
  });
  on(container, "focusout", () => {
    const left = last;
    // An element that is still there afterwards was left on purpose.
    queueMicrotask(() => {
      if (left === last && left?.isConnected && !left.contains(document.activeElement)) last = null;
    });
  });
  const observer = new MutationObserver(() => {
    const nowhere = !document.activeElement || document.activeElement === document.body;
    if (last && !last.isConnected && nowhere) {
      const key = CSS.escape(last.dataset.key);
      container.querySelector(`[data-key="${key}"]`)?.focus({ preventScroll: true });
    }
  });
  observer.observe(container, { childList: true, subtree: true });
  signal.addEventListener("abort", () => observer.disconnect());
}

function listenToPicture(container, area, tell, signal) {
  const find = (event) => {
    const picture = pictureAbove(container, area);
    return picture === event.target ? picture : null;
  };
  area.addEventListener(
    "mouseover",
    (event) => {
      const picture = find(event);
      if (picture) picture.style.cursor = "pointer";
    },
    { signal },
  );
  area.addEventListener(
    "click",
    (event) => {
      const box = find(event)?.getBoundingClientRect();
      if (!box) return;
      const x = (event.clientX - box.left) / box.width;
      const y = (event.clientY - box.top) / box.height;
      tell("picture", `${x.toFixed(4)},${y.toFixed(4)}`);
    },
    { signal },
  );
}

function initialize({ model }) {
  const onMessage = async (message) => {
    if (typeof message.copy === "string") {
      const done = await copy(message.copy);
      model.send({ action: "copied", value: done ? "yes" : "no" });
    }
  };
  model.on("msg:custom", onMessage);
  return () => model.off("msg:custom", onMessage);
}

function render({ model, el }) {
  const ended = new AbortController();
  const selector = `.${CSS.escape(model.get("container_class"))}`;
  const tell = (action, value) => model.send({ action, value });
  let announce = () => {};
  let wanted = new AbortController();
  const onMessage = (message) => {
    if (typeof message.say === "string") announce(message.say);
    if (typeof message.focus === "string") {
      wanted.abort();
      wanted = new AbortController();
      const until = performance.now() + ON_ITS_WAY;
      const container = el.closest(selector);
      if (container) focusWhenThere(container, message.focus, wanted.signal, until);
    }
  };
  model.on("msg:custom", onMessage);
  whenInside(el, selector, ended.signal, (container) => {
    listen(container, tell, (message) => model.send(message), ended.signal);
    announce = makeAnnouncer(container, ended.signal);
    nameSigns(container, ended.signal);
    const area = container.closest(OUTPUTS);
    if (area) describePicture(container, area, model, ended.signal);
    if (area && model.get("pictures")) listenToPicture(container, area, tell, ended.signal);
  });
  return () => {
    ended.abort();
    model.off("msg:custom", onMessage);
  };
}

export default { initialize, render };
