"""What runs when: definitions, jobs, schedules, sensors, and the command line."""
