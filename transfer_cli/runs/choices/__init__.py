"""What a run chooses for itself where its settings say auto."""
