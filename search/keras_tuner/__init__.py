"""KerasTuner's projects as studies; reading them needs nothing of KerasTuner."""
