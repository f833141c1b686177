"""What `scripts/test` runs. A suite is one entry in suites.py; runner.py builds, runs, counts and reports."""
