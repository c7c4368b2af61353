"""The command line: overrides, the composed configuration, the help page, and messages about a wrong command."""
