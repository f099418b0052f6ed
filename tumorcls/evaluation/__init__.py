"""How good a model is: metrics with intervals, mistakes, and robustness under noise."""
