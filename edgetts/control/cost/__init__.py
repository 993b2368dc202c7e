"""What computing costs on this device: seconds, joules, memory, with intervals; corrected while it runs."""
