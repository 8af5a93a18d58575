"""Documents become passages (`ingest`), passages are found (`search`), and quoted with their source (`answer`)."""
