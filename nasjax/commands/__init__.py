"""The commands of `nasjax NAME` that are in no other package, one in each file.

A command is a function `main(argv) -> exit code` with its own parser of arguments. Its
row is in `nasjax.cli.COMMANDS`.
"""
