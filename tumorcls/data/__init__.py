"""What a model is trained on: images, their manifest, copies, split, and data sets."""
