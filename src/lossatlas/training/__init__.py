"""What happens while somebody trains: recording, checkpoints, callbacks."""
