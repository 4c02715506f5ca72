"""The reviewer's pack of a run: checklists, methods, tables, figures and metadata, each number with its source."""
