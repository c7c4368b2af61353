"""The training loop and what it stands on: device, precision, optimizer, schedule, states, signals."""
