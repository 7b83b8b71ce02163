"""The root of the command line and the demo: thin, imports the other packages only when asked."""
