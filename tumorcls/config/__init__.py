"""What a training run is made of: its settings, and the file that holds them."""
