"""What noise is: its kinds, their severities, the layer that draws them in training, and what no training draws."""
