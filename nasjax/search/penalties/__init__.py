"""Terms of alpha's loss."""
