"""Whether a GPU runs kernels of our own. They need Triton, a C compiler, and a GPU that Triton knows."""

from __future__ import annotations

from functools import cache

import torch

from transfer_cli.errors import first_line, is_out_of_memory


@cache
def why_not(device: torch.device) -> str | None:
    """Why pixels are not normalised by one kernel on this GPU; None where they are. It is tried, once."""
    try:
        from transfer_cli.engine.devices.normalize_kernel import normalized

        one = torch.ones(3, device=device)
        normalized(torch.zeros(1, 3, 16, 16, dtype=torch.uint8, device=device), one, one)
    except Exception as error:  # Triton has many.
        if is_out_of_memory(error):
            raise
        return first_line(error)
    return None
