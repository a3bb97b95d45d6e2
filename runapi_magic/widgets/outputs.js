// Where the outputs of a cell are, and plain pictures among them, not a widget's: in JupyterLab and
// Notebook 7, and in nbclassic. What is joined below this uses it.
const OUTPUTS = ".jp-OutputArea, .output";
const PICTURES = ".jp-RenderedImage img, .output_jpeg img, .output_png img";

