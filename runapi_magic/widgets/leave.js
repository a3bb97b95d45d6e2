// Takes the widget around this view out of the notebook when its kernel is gone: a saved notebook
// is to name no widget that nobody has any more.

const VIEW = "application/vnd.jupyter.widget-view+json";
const NOTHING = { "text/html": "", "text/plain": "" };

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

async function render({ model, el }) {
  const id = model.get("root");
  const root = await model.widget_manager.get_model(id);
  const views = await Promise.all(Object.values(root.views ?? {}));
  const view = views.find((one) => one.el.contains(el));

  let outputs = null;
  let isGone = false;
  const find = () => {
    outputs = outputsAround(view?.luminoWidget);
    // A view is rendered before its output takes it in.
    if (!outputs && view && !isGone) requestAnimationFrame(find);
  };
  find();

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
    isGone = true;
    root.off("comm_live_update", onLife);
    root.off("destroy", leave);
  };
}

export default { render };
