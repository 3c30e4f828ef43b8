"""What everything else stands on: errors, keys, validation of arguments."""
