"""How a training run goes: its epochs, validation, cached features and checkpoints."""
