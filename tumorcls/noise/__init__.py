"""What noise is: its kinds, their severities, and the layer that draws them in training."""
