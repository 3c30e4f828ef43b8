"""Basics that all packages use: errors, files, keys, pytrees, argument checks."""
