"""A brain-tumour MRI classifier that has to work on noisy scans: its data, noise, model, training and evaluation.

For research and education only, never for diagnosis.
"""

DISCLAIMER = "Research and education only. Not a medical device; never use it for diagnosis."
