"""Which images show the same picture: fingerprints, their comparison, and groups of copies."""
