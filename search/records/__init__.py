"""What search keeps in a study and its trials: the names of the attributes, and what is read from them."""
