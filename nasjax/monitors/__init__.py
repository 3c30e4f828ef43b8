"""What is measured while a search runs."""
