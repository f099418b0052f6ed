"""How a launch goes: it asks for trials, hands them to workers, and records what comes back."""
