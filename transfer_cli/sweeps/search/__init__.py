"""The search for good settings: Optuna proposes, our jobs train, trials that fall behind end early."""
