"""What can be asked and answered: requests, tasks, models, polling. Pure: no I/O and no clock."""
