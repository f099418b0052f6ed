"""How a trained model is used: its evaluation, predictions, activation maps, the web page, ONNX and TFLite."""
