"""strategy=finetune: what adapts, and what comes before the first step."""
