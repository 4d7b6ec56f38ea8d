"""What is known of a run: machine, versions, origin, and what its logs may say."""
