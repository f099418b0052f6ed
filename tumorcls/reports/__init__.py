"""What a person looks at: pages, cards, charts and picture sheets."""
