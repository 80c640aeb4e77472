"""The commands of the command line, by subject; each imports what it needs only when it runs."""
