"""What people run: tools.run, tools.check, tools.readme."""
