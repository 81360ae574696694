"""Where sessions live that outgrow their cookie. Import a store from its own module: each needs other packages."""
