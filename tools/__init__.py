"""What people run: tools.run, tools.check, tools.readme, tools.new, tools.examine, tools.mirrors, tools.site."""
