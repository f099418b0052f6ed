"""What a study file may say, and the Optuna objects that it stands for."""
