"""Floor 4: composes the parts into one service, and speaks to people and programs by HTTP and on the command line."""
