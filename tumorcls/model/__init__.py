"""What is trained: the network, its compiled training program, calibration, and the saved file."""
