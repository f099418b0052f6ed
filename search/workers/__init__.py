"""Who runs a trial: worker processes, the objective in them, and what starts and watches them."""
