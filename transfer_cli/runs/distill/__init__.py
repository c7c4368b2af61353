"""The teacher's side of strategy=distill: prior runs, teachers and their outputs, the loss, the job."""
