"""The common tests that the transformers source distribution ships, run on this project's classes."""
