"""A study, or several side by side, as one HTML page for a person who looks rather than reads."""
