"""How a trained model is used: predictions, activation maps, the web page, ONNX and TFLite."""
