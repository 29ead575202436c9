"""A trained classifier as a file that other programs run. Called by `reconv export`; needs the extra `onnx`."""
