"""Monitors: measurements during a search."""
