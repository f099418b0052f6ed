"""What a study found: its ranking, best config, finalists, reports and dashboard."""
