"""The network: its Keras definition, its export to ONNX, and the model card."""
