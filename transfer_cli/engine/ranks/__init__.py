"""Processes that train one network together."""
