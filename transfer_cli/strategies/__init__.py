"""Strategies: what is trained, from what, against which loss. The loop never names one."""
