// What the page does for one widget in the output of a cell. It says whether a picture is seen above
// it; and when the kernel is gone it takes the widget out of the notebook: a saved notebook is to
// name no widget that nobody has any more.

const VIEW = "application/vnd.jupyter.widget-view+json";
const NOTHING = { "text/html": "", "text/plain": "" };
const PATIENCE = 5000; // milliseconds until a picture that was sent counts as lost

// The model of the outputs that a widget stands in, in JupyterLab and Notebook 7; null elsewhere.
function outputsAround(widget) {
  for (let one = widget; one; one = one.parent) {
    const model = one.model;
    if (typeof model?.set === "function" && typeof model.fromJSON === "function") return model;
  }
  return null;
}

function takeOut(outputs, id) {
  for (let index = 0; index < outputs.length; index += 1) {
    if (outputs.get(index).data?.[VIEW]?.model_id === id) {
      outputs.set(index, { output_type: "display_data", data: NOTHING, metadata: {} });
    }
  }
}

// A view is rendered before its output takes it in.
function whenTakenIn(look, signal, then) {
  if (signal.aborted) return;
  const found = look();
  if (found) then(found);
  else requestAnimationFrame(() => whenTakenIn(look, signal, then));
}

function whenPictured(area, signal, then, otherwise) {
  const isThere = () => area.querySelector(PICTURES) !== null;
  if (isThere()) {
    then();
    return;
  }
  const ended = new AbortController();
  const end = (act) => {
    if (ended.signal.aborted) return;
    ended.abort();
    observer.disconnect();
    clearTimeout(timer);
    if (!signal.aborted) act();
  };
  const observer = new MutationObserver(() => isThere() && end(then));
  observer.observe(area, { childList: true, subtree: true });
  const timer = setTimeout(() => end(otherwise), PATIENCE);
  signal.addEventListener("abort", () => end(otherwise));
}

function tell(el, text) {
  const line = document.createElement("div");
  line.setAttribute("role", "status");
  line.textContent = text;
  el.replaceChildren(line);
  el.style.display = "block";
}

async function render({ model, el }) {
  const ended = new AbortController();
  const { signal } = ended;
  const id = model.get("root");
  const root = await model.widget_manager.get_model(id);
  const views = await Promise.all(Object.values(root.views ?? {}));

  const onLook = (message) => {
    const area = typeof message.look === "string" && el.closest(OUTPUTS);
    if (!area) return;
    const seen = () => model.send({ says: "seen" });
    whenPictured(area, signal, seen, () => tell(el, message.look));
  };
  model.on("msg:custom", onLook);
  let isHere = false;
  whenTakenIn(() => el.closest(OUTPUTS), signal, () => {
    isHere = true;
    model.send({ says: "here" });
  });

  let outputs = null;
  const around = () => outputsAround(views.find((one) => one.el.contains(el))?.luminoWidget);
  whenTakenIn(around, signal, (found) => {
    outputs = found;
  });
  const leave = () => {
    if (outputs && !outputs.isDisposed) takeOut(outputs, id);
  };
  // A restart ends the life of the comms; the kernel's own goodbye closes the widget.
  const onLife = () => {
    if (!root.comm_live) leave();
  };
  root.on("comm_live_update", onLife);
  root.on("destroy", leave);
  return () => {
    ended.abort();
    if (isHere && root.comm_live) model.send({ says: "gone" });
    model.off("msg:custom", onLook);
    root.off("comm_live_update", onLife);
    root.off("destroy", leave);
  };
}

export default { render };
