"""What a study found: its ranking, best config, finalists, reports, dashboard and trackers."""
