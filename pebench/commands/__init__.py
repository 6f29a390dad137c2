"""The commands, one file each; a file defines `command`, and imports what is heavy inside it."""
