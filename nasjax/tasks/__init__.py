"""What is trained and measured."""
