"""The journal, an SQLite file: tasks, history, budgets, and which kernels are alive."""
