"""What `scripts/check` looks at: the sources themselves, before anything is built."""
