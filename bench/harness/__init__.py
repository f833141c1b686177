"""What `scripts/bench` does once everything is installed and built."""
