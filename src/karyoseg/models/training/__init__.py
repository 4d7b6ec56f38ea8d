"""What trainings of all networks share: samples in memory, patches, epochs, checkpoints."""
