"""The journal, an SQLite file: tasks, history, budgets, and locks of running kernels."""
