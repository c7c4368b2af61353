"""The command line's own words: composing a configuration, help, and what to say of a wrong command."""
